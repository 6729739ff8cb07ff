"""LwF, learning without forgetting (Li & Hoiem, 2016): on the new task's data, old tasks' outputs stay as they were.

Loss: cross-entropy over the new task's own classes + weight * sum over old tasks of the distillation from the network
before this task, with one softmax per task (their equations 1 to 3). Their warm-up, which first trains the new
classifier alone, is left out. No old example is kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.fine_tuning import FineTuning
from softtf.backbones.base import Backbone
from softtf.config.bounds import NonNegative, Positive
from softtf.learners.base import Batch, Learner
from softtf.learners.distilling import Teacher, distillation
from softtf.learners.fine_tuning import WHOLE_NETWORK, FineTunedLearner
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData


@dataclass(frozen=True)
class LwF(LearnerSpec, kind="lwf"):
    """Fine-tune the whole network; old tasks' outputs are distilled from the network before the task.

    Attributes:
        weight: weight of the distillation, lambda_o.
        temperature: of the softmax whose outputs are compared.
        tune: the weights that are trained.
        classes: the cross-entropy is over the new task's `own` classes, as in their equation 1, or over all `seen`.
    """

    title = "LwF"
    training = WHOLE_NETWORK
    weight: NonNegative = 1.0
    temperature: Positive = 2.0
    tune: FineTuning = FineTuning()
    classes: LossClasses = "own"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return LwFLearner(backbone, seed, self)


class LwFLearner(FineTunedLearner):
    """Cross-entropy on the new task and distillation on every old one."""

    loss_is_mean = True

    def __init__(self, backbone: Backbone, seed: int, spec: LwF) -> None:
        super().__init__(backbone, spec.tune, seed, spec.classes)
        self.spec, self.teacher = spec, Teacher()

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and copy the network."""
        super().begin_task(data)
        self.teacher.copy(self)

    def end_task(self, data: TaskData) -> None:
        """Close the task, and release the copy."""
        super().end_task(data)
        self.teacher.forget()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and, from the second task on, distillation."""
        logits = self.all_logits(batch.inputs)
        losses = {"cross_entropy": self.cross_entropy(logits, batch.targets)}
        if self.task:
            old, columns = self.teacher.logits(batch.inputs), map(self.task_columns, range(self.task))
            terms = [distillation(logits[:, c], old[:, c], self.spec.temperature).mean() for c in columns]
            losses["distillation"] = self.spec.weight * torch.stack(terms).sum()
        return losses

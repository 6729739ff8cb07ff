"""iCaRL (Rebuffi et al., 2017): herded exemplars, distillation, and the nearest mean of exemplars as the answer.

Loss (their Algorithm 3), on new data and exemplars alike: a binary cross-entropy of each class's sigmoid. The target of
a new class is the label; the target of an old class is the network's own output before this task.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone, Tokens
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Batch, Learner
from softtf.learners.distilling import Teacher
from softtf.learners.fine_tuning import FineTunedLearner
from softtf.learners.rehearsing import Exemplars, RehearsalSpec, features_of
from softtf.learners.spans import LossClasses
from softtf.learners.task_data import TaskData
from softtf.statistics.temperature import POSITIVE, fit_temperature
from softtf.streams import Loader

MEANS, TEMPERATURE = "means", "temperature"


@dataclass(frozen=True)
class ICaRL(RehearsalSpec, kind="icarl"):
    """Fine-tune the whole network with exemplars; answer with the class whose exemplars' mean is nearest.

    In the paper, labels are targets for the new classes, the task's `own`; old classes are only distilled. With
    `classes="seen"` labels are targets for all classes seen, and the old ones are distilled as well.
    """

    title = "iCaRL"
    classes: LossClasses = "own"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return ICaRLLearner(backbone, seed, self)


class ICaRLLearner(FineTunedLearner):
    """The classifier serves for training only; class means in the space of unit features answer.

    After each task a temperature is fitted on all of its training data, so that the softmax of the distances is a
    probability. It does not change the order of columns, but it matters where tasks share a label and the probabilities
    of its columns are added.
    """

    loss_is_mean = True

    def __init__(self, backbone: Backbone, seed: int, spec: ICaRL) -> None:
        super().__init__(backbone, spec.tune, seed, spec.classes)
        self.teacher, self.exemplars = Teacher(), Exemplars(spec.exemplars)

    def begin_task(self, data: TaskData) -> None:
        """Open the task, rehearse the exemplars, and copy the network as it is."""
        self.exemplars.rehearse(self.memory, data)
        super().begin_task(data)
        self.teacher.copy(self)

    def end_task(self, data: TaskData) -> None:
        """Choose exemplars, close the task, and release the copy."""
        self.remember(data.loader)
        super().end_task(data)
        self.teacher.forget()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return both parts of the binary cross-entropy: summed over classes, averaged over examples."""
        logits, old = self.all_logits(batch.inputs), self.num_old
        labelled = slice(self.task_columns(self.span.start).start, None)
        labels = F.one_hot(batch.targets, logits.shape[1]).to(logits)  # an exemplar's are zero over the new classes
        losses = {"classification": _binary(logits[:, labelled], labels[:, labelled])}
        if self.task:
            before = self.teacher.logits(batch.inputs).sigmoid()
            losses["distillation"] = _binary(logits[:, :old], before)
        return losses

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the means, the temperature and the exemplars."""
        means = TensorForm((self.num_classes, self.network.heads.dim))
        return {**self.exemplars.forms(self), MEANS: means, TEMPERATURE: POSITIVE}

    def remember(self, loader: Loader) -> None:
        """Choose exemplars and compute their means, both by the features of today's network."""
        features = F.normalize(features_of(loader, self.features))
        rows = self.exemplars.choose(self, loader, features)
        means = torch.stack([features[own.to(features.device)].mean(0) for own in rows])
        means = F.normalize(means, dim=1)
        scores = torch.cat([nearness(part, means) for part in features.split(64)]).double().cpu()
        temperature = fit_temperature(scores, loader.targets.cpu())
        self.memory = self.memory | {MEANS: means, TEMPERATURE: torch.tensor(temperature)}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the nearness of the unit feature to each class's mean over the temperature, [batch, classes seen]."""
        features = F.normalize(self.network.top(trunk, task=task), dim=1)
        means, temperature = (self.memory[name].to(features) for name in (MEANS, TEMPERATURE))
        return nearness(features, means) / temperature


def nearness(features: Tensor, means: Tensor) -> Tensor:
    """Return minus the squared distance of each feature [n, dim] from each mean [classes, dim]."""
    return -(features[:, None] - means).square().sum(2)


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)

"""EWC (Kirkpatrick et al., 2017): weights that mattered for old tasks are held where they were.

Loss: cross-entropy + weight / 2 * sum_i F_i (theta_i - theta*_i)^2, their equation 3, with two choices that it leaves
open. F is the diagonal of the true Fisher information, the labels drawn from the model's own answer (with the data's
labels it would be the empirical one). For several old tasks it is the sum of theirs, and theta* is where the last task
ended: the online form of Huszar (2018), in place of one penalty and one copy of the weights for each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.fine_tuning import FineTuning
from softtf.backbones.base import Backbone
from softtf.config.bounds import Count, NonNegative
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Batch, Learner, LearnerSpec
from softtf.learners.fine_tuning import WHOLE_NETWORK, FTLearner
from softtf.learners.spans import LossClasses
from softtf.learners.task_data import TaskData
from softtf.seeds import derive_seed
from softtf.streams import Loader

FISHER = "fisher."
WEIGHT = 1e4
"""Chosen with the bundled ViT, 3 epochs, the loss over own classes, and training images alone: five tasks of four
classes of CIFAR-100, 40 images a class to train on and 25 other training images a class to score. Accuracy over all 20
classes is 25.8 without a penalty, 27.6 at 1e3, 30.8 at 1e4 and 23.4 at 1e5; with the task given 67.2, 69.0, 69.4 and
64.8. One seed, 500 images: a difference of two points is noise. The digits do not choose: five tasks of two, 20 images
a class to train on and 30 to score, give 31.0 without a penalty and 30.0, 25.0, 24.3 and 32.3 at 1e3 to 1e6; with the
task given 93.3, 93.3, 92.3, 92.7 and 90.0, so that there is next to nothing to protect.
"""


@dataclass(frozen=True)
class EWC(LearnerSpec, kind="ewc"):
    """Fine-tune the whole network under a quadratic penalty, Fisher information its weights.

    Attributes:
        weight: of the penalty, lambda. It belongs to the scale of F, here a mean over examples of squared gradients of
            single ones: code that sums over examples, or averages gradients before squaring them, has other weights.
            Chosen on training images held out, see WEIGHT.
        fisher_samples: how many of a task's examples it is measured on, each with a backward pass of its own.
        classes: as for FT. Kirkpatrick et al. have tasks that share one output, or games of their own; of public
            code for class-incremental learning PyCIL has the `own` classes, mammoth all.
        tune: which weights are trained.
    """

    title = "EWC"
    training = WHOLE_NETWORK
    weight: NonNegative = WEIGHT
    fisher_samples: Count = 200
    classes: LossClasses = "own"
    tune: FineTuning = FineTuning()

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return EWCLearner(backbone, seed, self)


class EWCLearner(FTLearner):
    """Remembers the Fisher information of all tasks so far for each shared parameter, under `fisher.` and its name."""

    def __init__(self, backbone: Backbone, seed: int, spec: EWC) -> None:
        super().__init__(backbone, spec.tune, seed, spec.classes)
        self.spec = spec
        self.fisher: dict[str, Tensor] = {}

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and put what is remembered where the weights are."""
        super().begin_task(data)
        known = {name: value for name, value in self.memory.items() if name.startswith(FISHER)}
        self.fisher = {name.removeprefix(FISHER): value.to(data.device) for name, value in known.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and, from the second task on, the penalty."""
        losses = super().loss(batch)
        if self.fisher:
            losses["penalty"] = self.spec.weight / 2 * self.squared_distance()
        return losses

    def squared_distance(self) -> Tensor:
        """Return the sum of F_i (theta_i - theta*_i)^2; theta* is what tasks shared before this one."""
        moved = {n: p - self.shared_before[n] for n, p in self.shared_parameters() if n in self.fisher}
        return torch.stack([(self.fisher[n] * change.square()).sum() for n, change in moved.items()]).sum()

    def end_task(self, data: TaskData) -> None:
        """Remember this task's Fisher information, and close the task."""
        self.remember(data.loader)
        super().end_task(data)
        self.fisher = {}

    def remember(self, loader: Loader) -> None:
        """Add this task's Fisher information, measured on examples without augmentation."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "fisher", self.task))
        rows = torch.randperm(len(loader.examples), generator=generator)[: self.spec.fisher_samples]
        inputs = (loader.prepared(loader.loaded([row])) for row in rows.tolist())
        total = dict.fromkeys(dict(self.shared_parameters()), torch.tensor(0.0))
        for one in inputs:
            for name, gradient in self.score(one, generator).items():
                total[name] = total[name] + gradient.square() / len(rows)
        summed = {FISHER + name: value + self.fisher.get(name, 0) for name, value in total.items()}
        self.memory = self.memory | summed

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the Fisher information."""
        return {FISHER + name: TensorForm(tuple(p.shape), least=0) for name, p in self.shared_parameters()}

    def score(self, one: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the gradient of log p(y|x) of one input [1, ...], y drawn from p(y|x), by parameter."""
        log_p = self.network.heads(self.features(one), self.span).log_softmax(1)[0]
        label = int(torch.multinomial(log_p.detach().cpu().double().exp(), 1, generator=generator))
        parameters = dict(self.shared_parameters())
        gradients = torch.autograd.grad(log_p[label], list(parameters.values()))
        return dict(zip(parameters, gradients, strict=True))

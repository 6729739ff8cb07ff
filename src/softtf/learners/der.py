"""DER (Yan et al., CVPR 2021): an extractor for each task, and one classifier over the features of all of them.

A new task adds an extractor, trained on the task's data and the exemplars; the other extractors stay as they are. An
auxiliary classifier reads the new extractor alone; it has one logit for each new class and one for all old classes
together. Then the classifier is fitted anew to equally many exemplars of each class. Extractors are not pruned. With a
gate that infers the task (MCG, `mcg`), the answer is a class of that task: the policy `mcg:own`.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.slots import Heads
from softtf.adaptations.task_weights import TaskWeights
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import Count, NonNegative
from softtf.files.tensor_form import Forms
from softtf.learners.base import Batch, Learner
from softtf.learners.fine_tuning import WHOLE_NETWORK
from softtf.learners.minimise import minimise
from softtf.learners.rehearsing import Exemplars, check_budget, features_of
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.network import SharedPass
from softtf.statistics.base import Amount
from softtf.streams import Loader

DECAY = 5e-4  # weight decay of the classifier when it is fitted anew, as in the paper


@dataclass(frozen=True)
class DER(LearnerSpec, kind="der"):
    """Dynamically expandable representation: one extractor per task, and one classifier over all of them.

    Attributes:
        exemplars: examples kept in all, equally many per class, chosen by herding.
        auxiliary: weight of the auxiliary classifier's loss.
        extractor: the weights that each task has of its own; the paper has a whole network per task, `layers="all"`.
        classes: the classifier's cross-entropy is over all classes `seen`, as in the paper; with `own`, new examples
            are compared with the task's own classes and exemplars with all (`softtf.learners.spans`). The auxiliary
            classifier is the same either way.
        mcg: centroids per task of the gate; 0 means no gate.
    """

    title = "DER + MCG"
    training = WHOLE_NETWORK
    exemplars: Count = 2000
    auxiliary: NonNegative = 1.0
    extractor: TaskWeights = TaskWeights()
    classes: LossClasses = "seen"
    mcg: Amount = field(default=10, kw_only=True)

    def for_stream(self, count: int) -> "DER":
        """Refuse more classes than there are exemplars; raises UserError."""
        check_budget(self.exemplars, 1, count)
        return self

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return DERLearner(backbone, seed, self)


class ExpandingHeads(Heads):
    """One linear classifier over the features of all tasks' extractors side by side; every task trains all of it.

    Task t's slot has `weight` [its classes, (t + 1) dim], over the features of extractors 0 to t, and `bias`. From the
    second task on it also has `earlier` [classes before, dim]: the earlier classes' weights for the new extractor.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, retrained=True)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return weights ~ N(0, 0.02); the bias and the earlier classes' new weights start at zero."""
        weight = 0.02 * torch.randn(num_classes, (self.num_tasks + 1) * self.dim, generator=generator)
        slot = {"weight": weight, "bias": torch.zeros(num_classes)}
        before = sum(map(self.num_classes, range(self.num_tasks)))
        return slot | {"earlier": torch.zeros(before, self.dim)} if before else slot

    def matrix(self) -> Tensor:
        """Return the whole classifier [classes, tasks * dim]."""
        rows, start = [], 0
        for task in range(self.num_tasks):
            weight = self.slot(task)["weight"]
            later = [self.slot(t)["earlier"][start : start + len(weight)] for t in range(task + 1, self.num_tasks)]
            rows.append(torch.cat([weight, *later], 1))
            start += len(weight)
        return torch.cat(rows)

    @torch.no_grad()
    def set(self, matrix: Tensor, bias: Tensor) -> None:
        """Set the whole classifier: [classes, tasks * dim] and [classes]."""
        start = 0
        for task in range(self.num_tasks):
            slot = self.slot(task)
            stop, width = start + len(slot["bias"]), (task + 1) * self.dim
            slot["weight"].copy_(matrix[start:stop, :width])
            slot["bias"].copy_(bias[start:stop])
            if "earlier" in slot:
                slot["earlier"].copy_(matrix[:start, width - self.dim : width])
            start = stop

    def forward(self, features: Tensor, tasks: range) -> Tensor:
        """Return logits [batch, classes] of features [batch, tasks * dim]; `tasks` must be all tasks."""
        assert tasks == range(self.num_tasks)
        bias = torch.cat([self.slot(t)["bias"] for t in tasks])
        return F.linear(features, self.matrix().to(features), bias.to(features))


class AuxiliaryHead(Heads):
    """From the second task on, a classifier with a logit per new class and one for all old ones; it is not kept."""

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing for the first task."""
        return super().new_slot(num_classes + 1, generator) if self.num_tasks else {}

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep nothing."""
        return {}


class DERLearner(Learner):
    """Cross-entropy over all classes seen, and that of the auxiliary classifier, on new data and exemplars alike."""

    loss_is_mean = True

    def __init__(self, backbone: Backbone, seed: int, spec: DER) -> None:
        extra = {"auxiliary": AuxiliaryHead(backbone.dim)}
        heads = ExpandingHeads(backbone.dim)
        super().__init__(backbone, spec.extractor.build(backbone), seed, extra, heads, spec.classes)
        self.auxiliary, self.exemplars = spec.auxiliary, Exemplars(spec.exemplars)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the ways to answer; the gate first, if there is one (DER + MCG)."""
        return tuple(sorted(super().policies, key=lambda name: name != "mcg"))

    @property
    def answer_depends_on_task(self) -> bool:
        """False: every answer reads all extractors."""
        return False

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of exemplars."""
        return self.exemplars.forms(self)

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and rehearse the exemplars."""
        self.exemplars.rehearse(self.memory, data)
        super().begin_task(data)

    def end_task(self, data: TaskData) -> None:
        """Choose exemplars, fit the classifier, and close the task."""
        self.remember(data.loader)
        super().end_task(data)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features of all extractors side by side, [batch, tasks * dim]."""
        return self.all_tops(SharedPass(self.network, inputs).trunk)

    def all_tops(self, trunk: Tokens) -> Tensor:
        """Return the features of all extractors side by side, [batch, tasks * dim]; only the newest is trained."""
        with torch.no_grad():
            old = [self.network.top(trunk, task=task) for task in range(self.task)]
        return torch.cat([*old, self.network.top(trunk, task=self.task)], 1)

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen]; the same for every task."""
        return self.network.heads(self.all_tops(trunk), range(self.num_tasks))  # type: ignore[no-any-return]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return both cross-entropies."""
        features = self.features(batch.inputs)
        logits = self.network.heads(features, range(self.num_tasks))
        losses = {"cross_entropy": self.cross_entropy(logits, batch.targets)}
        if self.task:
            head = self.extra_slots["auxiliary"]
            assert isinstance(head, AuxiliaryHead)
            own = self.own(batch.targets)
            new_or_old = torch.where(own < 0, logits.shape[1] - self.num_old, own)
            newest = head(features[:, -head.dim :], range(self.task, self.task + 1))
            losses["auxiliary"] = self.auxiliary * F.cross_entropy(newest, new_or_old)
        return losses

    def remember(self, loader: Loader) -> None:
        """Choose exemplars by unit features; from the second task on, also fit the classifier to them alone."""
        features = features_of(loader, self.features)
        rows = torch.cat(self.exemplars.choose(self, loader, F.normalize(features)))
        if self.task:
            heads = self.network.heads
            assert isinstance(heads, ExpandingHeads)
            heads.set(*fit_classifier(features.cpu()[rows], loader.targets.cpu()[rows], self.num_classes))


def fit_classifier(features: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the weight [classes, dim] and bias [classes] of least mean cross-entropy + DECAY / 2 |weight|^2.

    The problem is convex; L-BFGS solves it from zero. The paper takes 30 epochs of SGD from a random start.
    """
    features = features.double()
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return F.cross_entropy(F.linear(features, weight, bias), targets) + DECAY / 2 * weight.square().sum()

    minimise(loss, [weight, bias], rounds=200)
    return weight.detach(), bias.detach()

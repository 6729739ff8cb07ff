"""MOS (Sun et al., AAAI 2025): an adapter a task, pulled to the earlier ones, which a sample finds by asking again.

"MOS: Model Surgery for Pre-Trained Model-Based Class-Incremental Learning"; their code is sun-hailong/AAAI25-MOS. A
task trains its adapter, which starts as the previous one, and a linear head at a tenth of the rate. Loss: cross-entropy
over the task's own classes + reg * R. With M the means of old classes and the batch's features, one a row, R is the
cross-entropy of M M^T / 0.8 with the diagonal as its targets: every row should be nearest to itself. After each step
the adapter moves by a tenth to the mean of the earlier tasks'. The heads are then aligned as one on class Gaussians
(`aligned`).

The answer, of each sample alone: k is the task of the class whose mean feature in task 1's network is nearest by
cosine. At most four times, z is the aligned head's answer in task k's network, and k becomes the task of its best
class, until it stays. The answer is softmax(z) + softmax(T cos), cos being those cosines, T the number of tasks.

What differs here (docs/methods.md): the move to the mean is once a step, as in the paper, and never after the task. The
published code moves thirteen times a step, and in every block of every forward pass of a test too, so that its stored
adapters become that mean and its answers depend on what was asked before. The adapter is ours, in series on the MLP's
output (as in `ranpac_fsa`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Layers
from softtf.adaptations.continued_adapters import ContinuedAdapters, continued
from softtf.adaptations.quantised import Rank
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import NonNegative, Positive, Share
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.aligned import AlignedLearner, AlignedSpec, apart
from softtf.learners.base import Batch, Learner
from softtf.learners.ease import class_means
from softtf.learners.rehearsing import features_of
from softtf.learners.task_data import TaskData
from softtf.network import SharedPass

PROTOTYPES = "prototypes"
ROUNDS = 4


@dataclass(frozen=True)
class MOS(AlignedSpec, kind="mos"):
    """Adapters of tasks' own that stay near each other, and self-refined retrieval of one for each sample.

    Attributes:
        layers: where adapters go, in any notation of `SoftMask.layers`.
        rank: their width.
        pull: how far an adapter moves to the mean of the earlier ones after each step.
        regularisation: the weight of R.
        contrast: the temperature in R.
        head_rate: the heads' rate as a share of the adapters'.
        storage: exact, as adapters go on from earlier ones.
    """

    title = "MOS"
    layers: Layers = "all"
    rank: Rank = 16
    pull: Share = 0.1
    regularisation: NonNegative = 0.1
    contrast: Positive = 0.8
    head_rate: Positive = 0.1
    storage: Literal["float32"] = field(default="float32", kw_only=True)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: a layer is not in the backbone.
        """
        return MOSLearner(backbone, seed, self)


class MOSLearner(AlignedLearner):
    """One network a task under one aligned head; remembers the classes' means in the first task's network too."""

    def __init__(self, backbone: Backbone, seed: int, spec: MOS) -> None:
        self.spec = self.aligning = spec
        super().__init__(backbone, [continued(spec.layers, spec.rank, backbone)], seed, classes="own")
        self.network.heads.rate_factor = spec.head_rate

    @property
    def answer_depends_on_task(self) -> bool:
        """A sample finds its task in the answer itself."""
        return False

    def features_in(self, task: int) -> Callable[[Tensor], Tensor]:
        """Return what gives the features [b, dim] in task `task`'s network of prepared inputs [b, ...]."""
        return lambda inputs: self.network.top(SharedPass(self.network, inputs).trunk, task=task)

    def task_features(self, inputs: Tensor) -> Tensor:
        """Return the features [b, dim] of the newest task's network."""
        return self.features_in(self.task)(inputs)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy over own classes, and reg * R."""
        features = self.task_features(batch.inputs)
        losses = {"cross_entropy": self.cross_entropy_of(features, batch.targets)}
        if self.spec.regularisation:
            losses["contrast"] = self.spec.regularisation * apart(self.known_means(features), self.spec.contrast)
        return losses

    def after_step(self) -> None:
        """Move the adapter to the mean of the earlier tasks'."""
        (adapters,) = self.network.adaptations
        assert isinstance(adapters, ContinuedAdapters)
        adapters.pull(self.spec.pull)

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the prototypes, besides those of alignment."""
        return {**super().memory_forms(labels), PROTOTYPES: TensorForm((len(labels), self.network.backbone.dim))}

    def end_task(self, data: TaskData) -> None:
        """Close the task, align, and remember its classes' means in the first task's network."""
        super().end_task(data)
        features = features_of(data.loader, self.features_in(0)).cpu()
        new = class_means(features, self.own(data.columns)).float()
        self.memory = self.memory | {PROTOTYPES: torch.cat([self.memory.get(PROTOTYPES, new[:0]), new])}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the log of the mean of softmax(z) and softmax(T cos), [batch, classes seen]."""
        head: Mapping[str, Tensor] = self.aligned
        first = self.network.top(trunk, task=0)
        cosines = F.normalize(first) @ F.normalize(self.memory[PROTOTYPES].to(first)).T

        def answer(rows: Tensor, task: int) -> Tensor:
            features = first[rows] if task == 0 else self.network.top(trunk[rows], task=task)
            return self.class_logits(features, head)

        z = refined(answer, cosines, self.column_tasks().to(cosines.device))
        return ((z.softmax(1) + (self.num_tasks * cosines).softmax(1)) / 2).log()


def refined(answer: Callable[[Tensor, int], Tensor], start: Tensor, tasks: Tensor) -> Tensor:
    """Return each sample's z [batch, classes] after it has found its task, in at most `ROUNDS` rounds.

    Args:
        answer: gives z of the samples at rows [m] in a task's network.
        start: [batch, classes], whose best class names the first task to ask.
        tasks: [classes], the task of each class.
    """
    asked = tasks[start.argmax(1)]
    found, unsettled = torch.zeros_like(start), torch.arange(len(start), device=start.device)
    for _ in range(ROUNDS):
        for task in asked[unsettled].unique().tolist():
            rows = unsettled[asked[unsettled] == task]
            found[rows] = answer(rows, task).to(found)
        named = tasks[found[unsettled].argmax(1)]
        moved = named != asked[unsettled]
        unsettled = unsettled[moved]
        asked[unsettled] = named[moved]
        if not len(unsettled):
            break
    return found

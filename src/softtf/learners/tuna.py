"""TUNA (Wang et al., ICCV 2025): one adapter per task, chosen by lowest entropy, and a universal one merged from all.

"Integrating Task-Specific and Universal Adapters for Pre-Trained Model-based Class-Incremental Learning". A task trains
its adapter, which starts as the previous one, and a cosine head of its own classes, by the cross-entropy of s (cos - m
[y]), a large-margin cosine loss. The heads of all tasks are then aligned together on class Gaussians (`aligned`). Each
entry of the universal adapter has the sign of the tasks' mean, and the largest size among the tasks with this sign.

Each sample is answered alone, in T + 1 passes: p_i is the aligned head's softmax in task i's network, and i* is the
task whose p_i has the lowest entropy. The answer is the mean of p_i* and of p in the universal network.

What differs here (docs/methods.md): the universal adapter is used. In the published code a mistake makes the newest
task's adapter answer instead. The adapter is ours, in series after the MLP (as in `ranpac_fsa`). There is no
orthogonality loss; the paper's settings for CIFAR-100 leave it out. The learning rate of the alignment falls once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Layers
from softtf.adaptations.continued_adapters import UNIVERSAL, continued
from softtf.adaptations.quantised import Rank
from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import NonNegative, Positive
from softtf.config.published import published_sgd
from softtf.learners.aligned import AlignedLearner, AlignedSpec, Samples
from softtf.learners.base import Batch, Learner
from softtf.learners.spans import LossClasses
from softtf.learners.subspaces import subspaces


@dataclass(frozen=True)
class TUNA(AlignedSpec, kind="tuna"):
    """One adapter per task, and a universal one.

    Attributes:
        layers: layers with adapters, in any notation of `SoftMask.layers`.
        rank: width of the adapters.
        scale: s, the scale of the cosines.
        margin: m, the margin; the paper has 0 on CIFAR-100 and 0.3 on ImageNet-A.
        storage: always exact, as each adapter continues the one before.
    """

    title = "TUNA"
    training: ClassVar[Mapping[str, Any]] = published_sgd(0.01, 16)
    classes: ClassVar[LossClasses] = "own"
    layers: Layers = "all"
    rank: Rank = 16
    scale: Positive = 20.0
    margin: NonNegative = 0.0
    align_samples: Samples = field(default=80, kw_only=True)
    storage: Literal["float32"] = field(default="float32", kw_only=True)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: a layer is not in the backbone.
        """
        return TUNALearner(backbone, seed, self)


class CosineHeads(Heads):
    """Weights [classes, dim] without biases; only their directions matter."""

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weight, ~ N(0, 0.02)."""
        return {"weight": super().new_slot(num_classes, generator)["weight"]}

    def num_classes(self, task: int) -> int:
        """Return how many classes task `task` has."""
        return len(self.slot(task)["weight"])


class TUNALearner(AlignedLearner):
    """One network per task and a universal one, with one aligned cosine head."""

    loss_is_mean = True

    def __init__(self, backbone: Backbone, seed: int, spec: TUNA) -> None:
        self.spec = self.aligning = spec
        adapters = continued(spec.layers, spec.rank, backbone)
        super().__init__(backbone, [adapters], seed, heads=CosineHeads(backbone.dim))

    @property
    def answer_depends_on_task(self) -> bool:
        """False: all tasks' networks answer together."""
        return False

    def class_logits(self, features: Tensor, head: Mapping[str, Tensor]) -> Tensor:
        """Return s cos(f, w_c) [..., classes] of features [..., dim]."""
        return self.spec.scale * F.normalize(features, dim=-1) @ F.normalize(head["weight"].to(features)).T

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of s (cos - m [y]) over the task's own classes."""
        own = self.own(batch.targets)
        head = {"weight": self.network.heads.slot(self.task)["weight"]}
        logits = self.class_logits(self.task_features(batch.inputs), head)
        margins = self.spec.scale * self.spec.margin * F.one_hot(own, logits.shape[1])
        return {"cross_entropy": F.cross_entropy(logits - margins, own)}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the log of the mean of p in the surest task's network and p in the universal one, [batch, classes]."""
        head = self.aligned
        own = surest(self.class_logits(subspaces(self, trunk), head).softmax(-1))
        universal = self.class_logits(self.network.top(trunk, task=UNIVERSAL), head).softmax(-1)
        return ((own + universal) / 2).log()


def surest(probabilities: Tensor) -> Tensor:
    """Return each sample's probabilities [batch, classes] of lowest entropy, from [batch, tasks, classes]."""
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(-1)
    return probabilities[torch.arange(len(probabilities)), entropy.argmin(1)]

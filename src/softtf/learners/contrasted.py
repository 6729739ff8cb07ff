"""What MOS and HiDe-Prompt share: a contrast with the means of old classes, and heads with their own learning rate.

Loss: cross-entropy over the task's own classes + reg * R. The rows of M are the means of old classes and the batch's
features. R is the cross-entropy of M M^T / temperature with the diagonal as its targets: every row should be nearest to
itself. Afterwards the heads are aligned together on class Gaussians (`aligned`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation
from softtf.backbones.base import Backbone
from softtf.config.bounds import NonNegative, Positive
from softtf.learners.aligned import AlignedLearner, AlignedSpec
from softtf.learners.base import Batch
from softtf.learners.spans import LossClasses


@dataclass(frozen=True)
class ContrastedSpec(AlignedSpec):
    """The settings of the contrast and of alignment.

    Attributes:
        regularisation: weight of the contrast R.
        contrast: temperature in R.
        head_rate: the heads' learning rate as a share of the other parameters'.
    """

    classes: ClassVar[LossClasses] = "own"

    regularisation: NonNegative = field(default=0.1, kw_only=True)
    contrast: Positive = field(default=0.8, kw_only=True)
    head_rate: Positive = field(default=0.1, kw_only=True)


class ContrastedLearner(AlignedLearner):
    """One network per task and one aligned head, trained by the cross-entropy over own classes and the contrast."""

    def __init__(self, backbone: Backbone, adaptations: Sequence[Adaptation], seed: int, spec: ContrastedSpec) -> None:
        self.aligning = self.contrasting = spec
        super().__init__(backbone, adaptations, seed, classes="own")
        self.network.heads.rate_factor = spec.head_rate

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy over own classes, and reg * R."""
        features, spec = self.task_features(batch.inputs), self.contrasting
        losses = {"cross_entropy": self.cross_entropy_of(features, batch.targets)}
        if spec.regularisation:
            losses["contrast"] = spec.regularisation * apart(self.known_means(features), spec.contrast)
        return losses


def apart(rows: Tensor, temperature: float) -> Tensor:
    """Return R: the cross-entropy of M M^T / temperature with the diagonal as its targets; M is rows [n, dim]."""
    return F.cross_entropy(rows @ rows.T / temperature, torch.arange(len(rows), device=rows.device))

"""Distillation: the network as it was before the current task says what old classes' outputs should stay."""

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.fine_tuning import FineTuning
from softtf.backbones.base import Backbone
from softtf.learners.fine_tuning import FineTunedLearner, network_logits
from softtf.learners.spans import LossClasses
from softtf.network import AdaptedNetwork
from softtf.streams import Loader


class DistillingLearner(FineTunedLearner):
    """While a task trains, keeps a copy of the network as it was before; in the first task there is none."""

    def __init__(self, backbone: Backbone, tune: FineTuning, seed: int, classes: LossClasses) -> None:
        super().__init__(backbone, tune, seed, classes)
        self.previous: AdaptedNetwork | None = None

    @property
    def num_old(self) -> int:
        """Number of classes of earlier tasks."""
        first: int = self.task_columns(self.task).start
        return first

    def before_training(self, loader: Loader) -> None:
        """Copy the network; the current task's classifier in the copy is never asked."""
        self.previous = self.network.frozen_copy() if self.task else None

    @torch.no_grad()
    def previous_logits(self, inputs: Tensor) -> Tensor:
        """Return the logits [b, old classes] that the network gave before this task."""
        assert self.previous is not None
        return network_logits(self.previous, inputs)[:, : self.num_old]

    def let_go(self) -> None:
        """Let the copy go."""
        self.previous = None


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy [b] of softmax(logits / T) with softmax(teacher / T) as its targets."""
    return F.cross_entropy(logits / temperature, (teacher / temperature).softmax(1), reduction="none")

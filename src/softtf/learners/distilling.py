"""Distillation: the outputs of old classes are held to those of the network as it was before the current task."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.learners.base import Learner
from softtf.learners.fine_tuning import network_logits
from softtf.network import AdaptedNetwork


class Teacher(nn.Module):
    """A copy of the network as it was before the current task; None in the first task."""

    def __init__(self) -> None:
        super().__init__()
        self.network: AdaptedNetwork | None = None
        self.num_old = 0

    def copy(self, learner: Learner) -> None:
        """Copy the network of a learner whose task has just begun; the task's own classifier in it is not used."""
        self.network, self.num_old = learner.network.frozen_copy() if learner.task else None, learner.num_old

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits [b, old classes] that the network gave before this task."""
        assert self.network is not None
        return network_logits(self.network, inputs)[:, : self.num_old]

    def forget(self) -> None:
        """Release the copy at the end of its task."""
        self.network, self.num_old = None, 0


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy [b] of softmax(logits / T) against the targets softmax(teacher / T)."""
    return F.cross_entropy(logits / temperature, (teacher / temperature).softmax(1), reduction="none")

"""One learned key per task, matched with the query of the untouched backbone (L2P, DualPrompt)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import stack_slots
from softtf.adaptations.slots import TaskSlots
from softtf.backbones.answering import once


class TaskKeys(TaskSlots):
    """One key k_t ~ U(-scale, scale) per task, pulled towards its task's queries by the matching loss.

    Only a key's direction matters, and Adam moves every coordinate by about the learning rate at each step. So with a
    smaller scale the key turns in fewer steps.
    """

    def __init__(self, dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.dim, self.scale = dim, scale

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return a key [dim]."""
        return {"key": (torch.rand(self.dim, generator=generator) * 2 - 1) * self.scale}

    def matching_loss(self, query: Tensor, task: int) -> Tensor:
        """Return the mean of gamma(q, k_t) = 1 - cos(q, k_t) over queries [batch, dim]."""
        return (1 - F.cosine_similarity(query, self.slot(task)["key"][None].to(query.dtype))).mean()

    def similarities(self, query: Tensor) -> Tensor:
        """Return cos(q, k_t) [batch, tasks]."""
        keys = once(self, query.dtype, lambda: F.normalize(stack_slots(self, "key").to(query.dtype), dim=-1))
        return F.normalize(query, dim=-1) @ keys.T

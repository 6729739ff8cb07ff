"""A cosine classifier of one task's classes; it serves to train an adapter, and is then dropped."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.slots import TaskSlots


class CosineHead(TaskSlots):
    """Logits s cos(f, w_c) over a task's own classes, with a learned scale s; a finished task has none.

    RanPAC's first phase and EASE use it. w ~ U(+-1/sqrt(dim)), and s starts at 1.

    Args:
        dim: dimension of the features.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weight [classes, dim] and the scale []."""
        weight = torch.empty(num_classes, self.dim)
        return {
            "weight": nn.init.uniform_(weight, -(self.dim**-0.5), self.dim**-0.5, generator=generator),
            "scale": torch.ones(()),
        }

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return nothing: a finished task needs no head."""
        return {}

    def cross_entropy(self, features: Tensor, targets: Tensor, task: int) -> Tensor:
        """Return the mean cross-entropy of features [b, dim]; targets: [b], columns of the task's own classes."""
        slot = self.slot(task)
        cosines = F.normalize(features) @ F.normalize(slot["weight"].to(features)).T
        return F.cross_entropy(slot["scale"].to(features) * cosines, targets)

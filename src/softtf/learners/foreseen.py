"""A classifier that has columns for classes to come from the start, where their number is known beforehand."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.slots import Heads


class ForeseenHeads(Heads):
    """One classifier of all classes of a stream; every task trains all of it, and takes its columns in turn.

    Args:
        dim: of the features.
        total: how many classes the stream has.
        generator: of the weights ~ N(0, 0.02).
    """

    def __init__(self, dim: int, total: int, generator: torch.Generator) -> None:
        super().__init__(dim, retrained=True)
        self.weight = nn.Parameter(0.02 * torch.randn(total, dim, generator=generator))
        self.bias = nn.Parameter(torch.zeros(total))

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return how many classes the task has, as the length of a tensor without numbers: those are in `weight`."""
        return {"columns": torch.zeros(num_classes, 0)}

    def num_classes(self, task: int) -> int:
        """Return how many classes task `task` has."""
        return len(self.slot(task)["columns"])

    def value(self, task: int, name: str) -> Tensor:
        """Return task `task`'s rows of the `weight` or the `bias`."""
        first = sum(map(self.num_classes, range(task)))
        values: Tensor = getattr(self, name)
        return values[first : first + self.num_classes(task)]

    def whole(self, features: Tensor) -> Tensor:
        """Return logits [batch, total] of the classes seen and those to come, of features [batch, dim]."""
        return F.linear(features, self.weight.to(features), self.bias.to(features))

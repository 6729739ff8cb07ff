"""A classifier with columns for future classes from the start, where their number is known."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.learners.class_counts import ClassCounts


class ForeseenHeads(ClassCounts):
    """One classifier of all classes of a stream; every task trains all of it, and takes its columns in turn.

    Args:
        dim: dimension of the features.
        total: number of classes of the stream.
        generator: of the weights ~ N(0, 0.02).
    """

    def __init__(self, dim: int, total: int, generator: torch.Generator) -> None:
        super().__init__(dim, retrained=True)
        self.weight = nn.Parameter(0.02 * torch.randn(total, dim, generator=generator))
        self.bias = nn.Parameter(torch.zeros(total))

    def value(self, task: int, name: str) -> Tensor:
        """Return task `task`'s rows of the `weight` or the `bias`."""
        first = sum(map(self.num_classes, range(task)))
        values: Tensor = getattr(self, name)
        return values[first : first + self.num_classes(task)]

    def whole(self, features: Tensor) -> Tensor:
        """Return logits [batch, total] of all classes, seen and future, from features [batch, dim]."""
        return F.linear(features, self.weight.to(features), self.bias.to(features))

"""The sums that a ridge regression of labels is solved from; they add up over tasks, in any order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RidgeSums:
    """Over `examples` of weight w: gram G = sum w h h^T [M, M], cross C = sum w h y^T [M, labels], weight = sum w."""

    gram: Tensor
    cross: Tensor
    weight: float
    examples: int

    @classmethod
    def zeros(cls, size: int, labels: int) -> "RidgeSums":
        """Return those of no examples, in float64."""
        return cls(torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, labels, dtype=torch.float64), 0.0, 0)

    def add(self, h: Tensor, labels: Tensor, weights: Tensor) -> "RidgeSums":
        """Return the sums with more examples in them: h [n, M], labels [n] and weights [n]; `self` is used up."""
        weighted = weights[:, None] * h
        self.gram.addmm_(weighted.T, h)
        self.cross.index_add_(1, labels, weighted.T)
        return RidgeSums(self.gram, self.cross, self.weight + float(weights.sum()), self.examples + len(h))

    def __add__(self, other: "RidgeSums") -> "RidgeSums":
        weight, examples = self.weight + other.weight, self.examples + other.examples
        return RidgeSums(self.gram + other.gram, self.cross + other.cross, weight, examples)

    def __sub__(self, other: "RidgeSums") -> "RidgeSums":
        weight, examples = self.weight - other.weight, self.examples - other.examples
        return RidgeSums(self.gram - other.gram, self.cross - other.cross, weight, examples)

    def kept(self, prefix: str) -> dict[str, Tensor]:
        """Return the sums as tensors to save, in float32, G as its upper triangle [M (M + 1) / 2]."""
        totals = torch.tensor([self.weight, self.examples], dtype=torch.float64)
        return {f"{prefix}gram": to_triangle(self.gram), f"{prefix}sums": self.cross.float(), f"{prefix}totals": totals}

    @classmethod
    def read(cls, known: Mapping[str, Tensor], prefix: str, size: int, labels: int) -> "RidgeSums":
        """Return what `kept` gave, for at least as many labels; nothing known is no examples."""
        if not known:
            return cls.zeros(size, labels)
        cross = torch.zeros(size, labels, dtype=torch.float64)
        cross[:, : known[f"{prefix}sums"].shape[1]] = known[f"{prefix}sums"].double()
        weight, examples = known[f"{prefix}totals"].tolist()
        return cls(from_triangle(known[f"{prefix}gram"]), cross, weight, int(examples))


def to_triangle(gram: Tensor) -> Tensor:
    """Return the upper triangle of a symmetric matrix [M, M], row by row, in float32 [M (M + 1) / 2]."""
    return gram[_upper(len(gram))].float()


def from_triangle(triangle: Tensor) -> Tensor:
    """Return the symmetric matrix [M, M] that `to_triangle` was given, in float64."""
    size = math.isqrt(2 * len(triangle))
    gram = torch.zeros(size, size, dtype=torch.float64)
    gram[_upper(size)] = triangle.double()
    return gram + gram.triu(1).T


def _upper(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool).triu()

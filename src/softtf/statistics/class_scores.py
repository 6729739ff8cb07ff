"""Class scores of frozen features for Feature ID: RanPAC's regression, and the temperature that makes it a softmax."""

from collections.abc import Mapping

import torch
from torch import Tensor

from softtf.statistics.base import FeatureStatistics
from softtf.statistics.random_ridge import RandomRidge


class ClassScores(FeatureStatistics):
    """The sums of `RandomRidge` over all tasks with its solution, beside a learner that needs neither to learn.

    Args:
        dim: of the features.
        size: M, the numbers that a feature is projected to; see `RandomRidge` for the bytes.
        seed: of the projection.
    """

    def __init__(self, dim: int, size: int, seed: int) -> None:
        super().__init__()
        self.regression = RandomRidge(dim, size, seed)

    def gather(self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, classes: int) -> dict[str, Tensor]:
        """Return G, C, the weights that solve them, and the temperature."""
        found = self.regression.learn(known, features, columns, classes)
        return {**found.sums, "weights": found.weights, "temperature": torch.tensor(found.temperature)}

    def log_probabilities(self, known: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return log P(c|x) [n, classes] of features [n, dim]: log softmax(h W / temperature)."""
        scores: Tensor = self.regression(features) @ known["weights"].to(features)
        return torch.log_softmax(scores / known["temperature"].to(features), 1)

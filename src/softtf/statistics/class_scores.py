"""Class scores of frozen features for Feature ID: RanPAC's regression, and the temperature that makes it a softmax."""

from collections.abc import Mapping

import torch
from torch import Tensor

from softtf.statistics.base import FeatureStatistics
from softtf.statistics.random_ridge import HELD, RandomRidge, check_kept


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

    def check(self, known: Mapping[str, Tensor]) -> None:
        """Refuse those of an earlier version, which kept less; raises TrainingError."""
        check_kept(known, HELD)

    def shapes(self, columns: int, tasks: int) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of the sums, of what solves them, and of the temperature."""
        solved = {"weights": (self.regression.size, columns), "log_shares": (columns,), "temperature": ()}
        return {**self.regression.shapes(columns), **solved}

    def gather(
        self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the sums, the weights that solve them, the columns' shares and the temperature."""
        found = self.regression.learn(known, features, columns, labels)
        temperature = torch.tensor(found.temperature)
        return {**found.sums, "weights": found.weights, "log_shares": found.log_shares, "temperature": temperature}

    def log_probabilities(self, known: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return log P(column|x) [n, columns] of features [n, dim]: log softmax(h W / temperature + log_shares)."""
        scores: Tensor = self.regression(features) @ known["weights"].to(features)
        logits = scores / known["temperature"].to(features)
        if "log_shares" in known:  # an earlier version kept none
            logits = logits + known["log_shares"].to(features)
        return torch.log_softmax(logits, 1)

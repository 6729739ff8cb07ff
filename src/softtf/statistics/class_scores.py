"""Class scores of frozen features for Feature ID: RanPAC's regression, with a temperature for its softmax."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from softtf.files.tensor_form import Forms, TensorForm
from softtf.statistics.base import SharedStatistics
from softtf.statistics.of_regression import OfRegression
from softtf.statistics.random_ridge import RandomRidge, RidgeSolution
from softtf.statistics.shares import Share
from softtf.statistics.temperature import POSITIVE


class ClassScores(OfRegression, SharedStatistics):
    """The sums and the solution of `RandomRidge` over all tasks, for task inference; the learner does not use them.

    The amount is M, the dimension of the random projection; see `RandomRidge` for the bytes.
    """

    name = "feature-id"
    setting = "feature_id"
    amount = 1000
    fitted = "temperature"
    regression: RandomRidge

    def __init__(self, dim: int, amount: int, seed: int) -> None:
        super().__init__(dim, amount, seed)
        self.regression = RandomRidge(dim, amount, seed)

    def forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the solution and of the temperature."""
        columns = len(labels)
        return {
            "weights": TensorForm((self.regression.size, columns)),
            "log_shares": TensorForm((columns,), most=0),
            "temperature": POSITIVE,
        }

    def learn(
        self, before: Sequence[Share], features: Tensor, columns: Tensor, labels: Tensor
    ) -> tuple[Share, dict[str, Tensor]]:
        """Return the newest task's sums; and the weights of the solution, the columns' log shares, the temperature."""
        share, found = self.regression.learn(before, features, columns, labels)
        return share, _kept(found)

    def combined(self, shares: Sequence[Share]) -> dict[str, Tensor]:
        """Return the weights of the solution, the columns' log shares and the temperature."""
        return _kept(self.regression.solve(shares))

    def log_probabilities(self, known: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return log P(column|x) [n, columns] of features [n, dim]: log softmax(h W / temperature + log_shares)."""
        scores: Tensor = self.regression(features) @ known["weights"].to(features)
        logits = scores / known["temperature"].to(features) + known["log_shares"].to(features)
        return torch.log_softmax(logits, 1)


def _kept(found: RidgeSolution) -> dict[str, Tensor]:
    temperature = torch.tensor(found.temperature)
    return {"weights": found.weights, "log_shares": found.log_shares, "temperature": temperature}

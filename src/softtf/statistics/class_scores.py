"""Class scores of frozen features for Feature ID: RanPAC's regression, with a temperature for its softmax."""

from collections.abc import Mapping

import torch
from torch import Tensor

from softtf.files.tensor_form import Forms, TensorForm
from softtf.statistics.base import FeatureStatistics
from softtf.statistics.random_ridge import RandomRidge
from softtf.statistics.temperature import POSITIVE


class ClassScores(FeatureStatistics):
    """The sums and the solution of `RandomRidge` over all tasks, for task inference; the learner does not use them.

    The amount is M, the dimension of the random projection; see `RandomRidge` for the bytes.
    """

    name = "feature-id"
    setting = "feature_id"
    amount = 1000

    def __init__(self, dim: int, amount: int, seed: int) -> None:
        super().__init__(dim, amount, seed)
        self.regression = RandomRidge(dim, amount, seed)

    def forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the sums, of the solution and of the temperature."""
        columns = len(labels)
        solution = {
            "weights": TensorForm((self.regression.size, columns)),
            "log_shares": TensorForm((columns,), most=0),
        }
        return {**self.regression.forms(labels), **solution, "temperature": POSITIVE}

    def gather(
        self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the sums, the weights of the solution, the columns' log shares and the temperature."""
        found = self.regression.learn(known, features, columns, labels)
        temperature = torch.tensor(found.temperature)
        return {**found.sums, "weights": found.weights, "log_shares": found.log_shares, "temperature": temperature}

    def log_probabilities(self, known: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return log P(column|x) [n, columns] of features [n, dim]: log softmax(h W / temperature + log_shares)."""
        scores: Tensor = self.regression(features) @ known["weights"].to(features)
        logits = scores / known["temperature"].to(features) + known["log_shares"].to(features)
        return torch.log_softmax(logits, 1)

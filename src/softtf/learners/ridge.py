"""What methods have in common whose answer is one ridge regression over all classes seen, solved with each task."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads, TaskSlots
from softtf.backbones.base import Backbone, Tokens
from softtf.files.tensor_form import Forms
from softtf.learners.closed_form import ClosedFormLearner
from softtf.statistics import RandomRidge
from softtf.statistics.task_ridge import TaskRidge


class RidgeLearner(ClosedFormLearner):
    """The head is W, solved anew with each task; the sums are remembered.

    W is divided by the regression's temperature, and each column's bias is the log of its share of its label's
    examples: so the softmax is a probability, and that of a label the sum over its columns.

    error_name: what to call the error that lambda was chosen by.
    """

    error_name: ClassVar[str]

    def __init__(
        self,
        backbone: Backbone,
        seed: int,
        regression: RandomRidge | TaskRidge,
        adaptations: Sequence[Adaptation] = (),
        extra_slots: Mapping[str, TaskSlots] | None = None,
    ) -> None:
        super().__init__(backbone, adaptations, seed, extra_slots, Heads(regression.size, retrained=True))
        self.regression = regression

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the sums."""
        return self.regression.forms(labels)

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task to the sums and solve; tell the error that lambda was chosen by, and lambda."""
        found = self.regression.learn(self.memory, features, columns, labels)
        self.memory = found.sums
        self.set_heads(found.weights / found.temperature, found.log_shares)
        return {self.error_name: found.error, "ridge": found.ridge}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return h W over the temperature, with each column's bias, [batch, classes seen]."""
        h = self.regression(self.network.top(trunk, task=task))
        return self.network.heads(h, range(self.num_tasks))  # type: ignore[no-any-return]

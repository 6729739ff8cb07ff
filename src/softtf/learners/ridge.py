"""What methods share that answer by one ridge regression over all classes seen, solved anew with each task."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads, TaskSlots
from softtf.backbones.base import Backbone, Tokens
from softtf.learners.closed_form import ClosedFormLearner
from softtf.statistics import RandomRidge, Share
from softtf.statistics.of_regression import OfRegression
from softtf.statistics.random_ridge import RidgeSolution
from softtf.statistics.task_ridge import TaskRidge


class RidgeLearner(OfRegression, ClosedFormLearner):
    """The head is W, solved anew with each task; each task's sums are its share.

    W is divided by the regression's temperature, and each column's bias is the log of its share of its label's
    examples. So the softmax is a probability, and that of a label is the sum over its columns.

    error_name: what the error by which lambda was chosen is called where it is shown. fitted: what a task fits on all
    classes known at the time.
    """

    regression: RandomRidge | TaskRidge
    error_name: ClassVar[str]
    fitted: ClassVar[str] = ""

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
        self.unit_size = regression.size

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task's sums and solve; return lambda and the error by which it was chosen, to show."""
        share, found = self.regression.learn(self.shares_of(labels), features, columns, labels)
        self.keep_share(share.tensors)
        self._set(found)
        return {self.error_name: found.error, "ridge": found.ridge}

    def solve(self, shares: Sequence[Share]) -> None:
        """Solve the regression over all shares."""
        if shares:
            self._set(self.regression.solve(shares))

    def fitted_beside(self, task: int) -> list[str]:
        """Return what later tasks fitted on all classes known at the time, if the method fits anything."""
        own = [f"the {self.fitted} that later tasks fitted"] if self.fitted else []
        return super().fitted_beside(task) + own

    def _set(self, found: RidgeSolution) -> None:
        self.set_heads(found.weights / found.temperature, found.log_shares)

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return h W divided by the temperature, plus each column's bias, [batch, classes seen]."""
        return self.network.heads(self.units(trunk, task), range(self.num_tasks))  # type: ignore[no-any-return]

    def units(self, trunk: Tokens, task: int) -> Tensor:
        """Return h [batch, M]."""
        h: Tensor = self.regression(self.network.top(trunk, task=task))
        return h

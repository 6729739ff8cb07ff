"""What statistics and learners have in common if their shares are the sums of a regression."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from softtf.files.tensor_form import Forms
from softtf.statistics.exact_ridge import ExactRidge
from softtf.statistics.random_ridge import RandomRidge
from softtf.statistics.shares import Share
from softtf.statistics.task_ridge import TaskRidge


class OfRegression:
    """Shares that are the sums of a regression, which adds them up and divides them.

    Among base classes it stands before the class whose methods it replaces.
    """

    regression: RandomRidge | TaskRidge | ExactRidge

    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the sums."""
        return self.regression.forms(labels)

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's sums for the classes at `kept` alone."""
        return self.regression.without(share, kept)

    def joined(self, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's sums with those of more of its examples."""
        return self.regression.joined(one, more)

    def united(self, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return the sums of the tasks of some shares together."""
        return self.regression.united(shares)

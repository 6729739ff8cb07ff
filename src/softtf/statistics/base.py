"""The base of feature statistics: tensors gathered from tasks' frozen features, from which a task is inferred."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class FeatureStatistics(nn.Module, ABC):
    """Gathers statistics of frozen features; a learner holds them under the name of the inference that reads them.

    The learner keeps the result (`Learner.gathered`) and saves it. The module itself holds only what its settings and
    the learner's seed determine.
    """

    def check(self, known: Mapping[str, Tensor]) -> None:  # noqa: B027 - most statistics can always take a task
        """Refuse, before a task is trained, statistics to which no task can be added.

        Raises:
            TrainingError: the statistics are from an earlier version, which kept less.
        """

    def shapes(self, columns: int, tasks: int) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of the statistics after `columns` logit columns and `tasks` tasks; None is any size.

        Loaded statistics are checked against them; entries that are not named may have any shape.
        """
        return {}

    @abstractmethod
    def gather(
        self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the statistics with one more task in them.

        Args:
            known: the statistics of the tasks before, empty before the first; not changed in place.
            features: q(x) [n, dim] of the task's training inputs, unaugmented, on the CPU.
            columns: [n], the logit column of each input; the task's own columns come last.
            labels: [columns so far], the label number of each column; a repeated label keeps its number.
        """

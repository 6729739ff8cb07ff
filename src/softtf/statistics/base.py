"""What feature statistics are: tensors gathered from a task's frozen features, by which a task can be named."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class FeatureStatistics(nn.Module, ABC):
    """Gathers statistics of frozen features; any learner can carry some, by the name of the inference that reads them.

    What is gathered is kept by the learner (`Learner.gathered`), so that it is saved. The module itself holds nothing
    that its settings and the learner's seed do not give again.
    """

    def check(self, known: Mapping[str, Tensor]) -> None:  # noqa: B027 - most can go on from whatever they kept
        """Refuse, before a task is trained, statistics that no task can be added to.

        Raises:
            TrainingError: they are an earlier version's, which kept less.
        """

    def shapes(self, columns: int, tasks: int) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of what was gathered after so many logit columns and tasks; None where any size will do.

        What is loaded is checked by them; entries that are not named may have any shape.
        """
        return {}

    @abstractmethod
    def gather(
        self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the statistics with one more task in them.

        Args:
            known: those of the tasks before, empty before the first; not to be changed in place.
            features: q(x) [n, dim] of the task's training inputs, unaugmented, on the CPU.
            columns: [n], the logit column of each; the task's own are the last ones.
            labels: [columns so far], the label number of each column; a label that came before has its number again.
        """

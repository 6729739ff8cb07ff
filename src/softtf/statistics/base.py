"""The base of statistics: tensors gathered task after task, from which a task is inferred."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from softtf.config.bounds import Between, whole_number
from softtf.config.tree import check_value
from softtf.errors import UserError, unknown
from softtf.files.tensor_form import Forms
from softtf.registry import Registry
from softtf.statistics.shares import Share

STATISTIC_KINDS: "Registry[type[Statistics]]" = Registry("statistics")
MOST = 50_000
Amount = Annotated[int, Between(0, MOST)]
Dimension = Annotated[int, Between(1, MOST)]
"""The dimension of a random projection."""


class Statistics(nn.Module, ABC):
    """Statistics that a learner gathers beside its method; a subclass with a `name` registers itself.

    The learner keeps the result (`Learner.gathered`) and saves it. The object itself holds only what follows from its
    arguments.

    name: the name of the task inference that reads them. setting: the setting of a learner's spec that gives the
    amount, 0 for nothing; None: a learner gathers them if its `gather` names them. needs: a task inference that the
    learner must have of its own.

    amount: how much is gathered; the subclass says what it counts. A class gives a good amount, or 0 if users cannot
    choose one. An object has the amount that its user asked for.

    Args:
        dim: the dimension of the features.
        amount: how much to gather.
        seed: the seed of its random numbers.
    """

    name: ClassVar[str]
    setting: ClassVar[str | None] = None
    amount: int = 0
    needs: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):
            STATISTIC_KINDS.add(cls.name, cls, cls)

    def __init__(self, dim: int, amount: int, seed: int) -> None:
        super().__init__()
        self.dim, self.amount, self.seed = dim, amount, seed

    @classmethod
    def settings(cls, amount: int | None = None) -> dict[str, Any]:
        """Return the setting of a learner's spec that asks for an amount of them, such as `feature_id: 1000`."""
        if cls.setting:
            return {cls.setting: cls.amount if amount is None else amount}
        return {"gather": (cls.name if amount is None else f"{cls.name}={amount}",)}

    @classmethod
    def option(cls) -> str:
        """Return the same for the command line, such as `--learner.feature-id 1000`."""
        place, value = (cls.setting.replace("_", "-"), cls.amount) if cls.setting else ("gather", cls.name)
        return f"--learner.{place} {value}"

    @abstractmethod
    def forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the form of each tensor that is gathered; loaded statistics are checked against them.

        Args:
            labels: [columns so far], the label number of each logit column.
            tasks: how many tasks were gathered.
        """

    def of_tasks(self, known: Mapping[str, Tensor], tasks: Sequence[int]) -> dict[str, Tensor]:
        """Return the statistics of some tasks, in that order, out of those of all.

        Raises:
            UserError: these statistics keep all tasks as one sum.
        """
        raise UserError(f"the statistics of {self.name} keep all tasks as one sum, so no task can be taken out of them")


class FeatureStatistics(Statistics):
    """Statistics of the frozen backbone's features."""

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


class SharedStatistics(Statistics):
    """Statistics of frozen features to which each task adds a share, so that any task can be taken out or put in.

    fitted: the parameters of a share that depend on the tasks known at the time, in words; empty if there are none.
    sums_by_class: whether all sums of a share are kept by class, so that `without` leaves nothing of a class.
    """

    fitted: ClassVar[str] = ""
    sums_by_class: ClassVar[bool] = False

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's share without the sums of some of its classes; `kept` has the places of those that stay.

        Raises:
            UserError: the sums are not kept by class.
        """
        raise UserError(f"the statistics of {self.name} are not kept by class; remove the whole task")

    def joined(self, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's share with that of more of its examples added.

        Args:
            one: of a task.
            more: of the further examples; its labels are places among the columns of `one`.

        Raises:
            UserError: a share cannot be added to.
        """
        raise UserError(f"the statistics of {self.name} take a task's examples at once; learn the whole task again")

    def united(self, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return one share of the tasks of some shares together, for a learner that keeps one sum.

        A subclass that does not have it goes only with learners whose sums are kept by task.
        """
        raise NotImplementedError

    @abstractmethod
    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the form of each tensor of a share.

        Args:
            labels: [columns of the share], numbered within it.
            tasks: how many tasks it covers: 1, unless several are kept as one (`LearnerSpec.sums`).
        """

    @abstractmethod
    def learn(
        self, before: Sequence[Share], features: Tensor, columns: Tensor, labels: Tensor
    ) -> tuple[Share, dict[str, Tensor]]:
        """Return the newest task's share, and the statistics with it.

        Args:
            before: the shares of earlier tasks.
            features: as for `FeatureStatistics.gather`.
            columns: as for `FeatureStatistics.gather`.
            labels: as for `FeatureStatistics.gather`.
        """

    @abstractmethod
    def combined(self, shares: Sequence[Share]) -> dict[str, Tensor]:
        """Return the statistics of the tasks of all shares, as `learn` returned them with the last one."""


def asked_for(texts: tuple[str, ...]) -> dict[str, int]:
    """Read `my-id` and `my-id=20`: return the amount to gather of each of the statistics.

    Raises:
        UserError: there are none of that name, they have a setting of their own, or the amount is wrong or cannot be
            chosen.
    """
    found = {}
    for text in texts:
        name, given, amount = text.partition("=")
        if name not in STATISTIC_KINDS:
            raise unknown(
                "statistics to gather", name, (n for n, s in STATISTIC_KINDS.items() if not s.setting), imports=True
            )
        kind = STATISTIC_KINDS[name]
        if kind.setting:
            raise UserError(f"gather: {name} has a setting of its own; give {kind.setting}={kind.amount}")
        if given and not kind.amount:
            raise UserError(f"gather: {text!r}: {name} has no amount to choose; write {name}")
        if given and (number := whole_number(amount)) is None:
            raise UserError(f"gather: {text!r}: write {name} or {name}={kind.amount}")
        found[name] = check_value(Amount, number if given else kind.amount or 1, f"gather: {name}")
    return found

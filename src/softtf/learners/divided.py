"""The part of a learner's state that is not in slots, divided by task: shares of sums, and what follows from them.

Parameters in slots belong to one task. The method's memory and the statistics are divided too, where each task keeps
its share of the sums (`keep_share`) and all else follows from the shares (`settle`). Then a task can be removed, or a
task of another learner added (`softtf.learners.parts`).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from softtf.files.tensor_form import Forms
from softtf.learners.shares import METHOD, Shares
from softtf.learners.state import LearnerState
from softtf.statistics import Share, SharedStatistics
from softtf.statistics.shares import local_numbers

ONE_COLUMN = torch.zeros(1, dtype=torch.int64)


class DividedState(LearnerState):
    """The state of a learner, divided by task.

    common: the names in `memory` of values that must be equal in learners that are merged. trained_by_steps: whether a
    task's parameters are trained by gradient steps, for all of its classes together. sums_by_class: whether all that a
    task adds to the method's sums is kept by class, so that a class can go and leave nothing. one_sum: whether the sums
    of all tasks are kept as one (`LearnerSpec.sums`).
    """

    common: ClassVar[tuple[str, ...]] = ()
    trained_by_steps: ClassVar[bool] = True
    sums_by_class: ClassVar[bool] = False
    one_sum: bool = False

    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the form of each tensor that a task adds to the method's sums (`keep_share`).

        Args:
            labels: [columns of the task], numbered within it.
            tasks: 1, unless the sums of several tasks are kept as one.
        """
        return {}

    def all_share_forms(self, tasks: range, labels: Tensor) -> dict[str, Forms]:
        """Return the forms of the sums of some tasks, by owner; labels: as for `memory_forms`."""
        stops = [0, *self.column_stops]
        _, local = local_numbers(labels[stops[tasks.start] : stops[tasks.stop]])
        shared = self.shared_statistics.items()
        forms = {name: statistics.share_forms(local, len(tasks)) for name, statistics in shared}
        own = self.share_forms(local, len(tasks))
        return forms | ({METHOD: own} if own else {})

    def keep_share(self, tensors: Mapping[str, Tensor], owner: str = METHOD) -> None:
        """Keep what the newest task added to the method's sums, or to those of the statistics named `owner`."""
        self.shares = self.shares.with_newest(self.num_tasks, owner, tensors)

    def shares_of(self, labels: Tensor, owner: str = METHOD) -> list[Share]:
        """Return the shares of the method, or of the statistics named `owner`; labels: as for `memory_forms`."""
        return self.shares.of(owner, labels, self.column_stops)

    @property
    def column_stops(self) -> list[int]:
        """For each task, the number of the logit column after its last."""
        return list(accumulate(map(self.network.heads.num_classes, range(self.num_tasks))))

    @property
    def column_slices(self) -> list[slice]:
        """For each task, the logit columns of its own classes."""
        stops = self.column_stops
        return [slice(first, stop) for first, stop in zip([0, *stops], stops, strict=False)]

    @property
    def divisible(self) -> bool:
        """Whether all that the method remembers follows from shares, so that tasks can be removed and added."""
        return not self.memory

    @property
    def shared_statistics(self) -> dict[str, SharedStatistics]:
        """The statistics to which each task adds a share, by name."""
        return {name: found for name, found in self.statistics.items() if isinstance(found, SharedStatistics)}

    @property
    def undivided_statistics(self) -> list[str]:
        """The names of the statistics without a share per task."""
        return [name for name in self.gathered if name not in self.shared_statistics]

    def trained_by(self, task: int) -> list[str]:
        """Return the names of the shared parameters that task `task` trained."""
        return [name for name, _ in self.shared_parameters()]

    def share_without(self, owner: str, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's share without the sums of some of its classes.

        Args:
            owner: the method, or the name of the statistics that the share belongs to.
            share: the share of one task.
            kept: the places of the classes that stay.

        Raises:
            UserError: the sums are not kept by class.
        """
        return self.shared_statistics[owner].without(share, kept)

    def share_joined(self, owner: str, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's share with that of more of its examples added (`SharedStatistics.joined`).

        Args:
            owner: whose share it is: the method, or the statistics of that name.
            one: of the task.
            more: of the further examples; its labels are places among the task's columns.

        Raises:
            UserError: a share cannot be added to.
        """
        return self.shared_statistics[owner].joined(one, more)

    def share_united(self, owner: str, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return one share of the tasks of some shares together.

        Args:
            owner: whose shares they are: the method, or the statistics of that name.
            shares: of all tasks, in their order.
        """
        return self.shared_statistics[owner].united(shares)

    def unite_shares(self, labels: Tensor) -> None:
        """Keep what all tasks added to sums as one share, that of the newest task; labels: as for `memory_forms`."""
        owners = dict.fromkeys(owner for task in self.shares.tasks for owner in task)
        found = {owner: dict(self.share_united(owner, self.shares_of(labels, owner))) for owner in owners}
        self.shares = Shares([*[{}] * (self.num_tasks - 1), found])

    @property
    def can_unite(self) -> bool:
        """Whether the shares of all statistics can be one sum."""
        return all(type(s).united is not SharedStatistics.united for s in self.shared_statistics.values())

    def by_class(self, owner: str) -> bool:
        """Return whether the method, or the statistics of that name, keep all sums by class (`sums_by_class`)."""
        return self.sums_by_class if owner == METHOD else self.shared_statistics[owner].sums_by_class

    def fitted_beside(self, task: int) -> list[str]:
        """Return, in words, the parameters that later tasks fit while task `task` is known; removal leaves them."""
        return [
            f"the {s.fitted} of {s.name} that later tasks fitted" for s in self.shared_statistics.values() if s.fitted
        ]

    def settle(self, labels: Tensor) -> None:
        """Set what follows from the tasks' shares, as the last task did when it was learned; labels: of all columns.

        Raises:
            TrainingError: the shares are those of no examples.
        """
        shared = self.shared_statistics
        found = {name: s.combined(self.shares_of(labels, name)) for name, s in shared.items() if self.num_tasks}
        self.gathered = {n: v for n, v in self.gathered.items() if n not in shared} | found

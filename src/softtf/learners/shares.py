"""A learner's shares: what each of its tasks added to the sums of its method and of its statistics.

They are saved with the task under `share.` and the names that an earlier version, which kept one sum of all tasks, has
under `memory.`; statistics under `statistics.NAME.`.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from softtf.errors import UserError
from softtf.files.tensor_form import Forms, check_forms
from softtf.statistics import Share

SHARE, STATISTICS = "share.", "statistics."
METHOD = ""
"""Whose the shares of the method's own sums are; others are those of the statistics of that name."""

TaskShares = Mapping[str, Mapping[str, Tensor]]
"""What one task added, by whose it is."""


class Shares:
    """The shares of a learner's finished tasks; it never changes.

    tasks: for each task what it added; nothing but for the last of several tasks whose sums an earlier version kept as
    one, which has those of them all.
    """

    def __init__(self, tasks: Sequence[TaskShares] = ()) -> None:
        self.tasks = tuple(tasks)

    def with_newest(self, count: int, owner: str, tensors: Mapping[str, Tensor]) -> "Shares":
        """Return the shares with one more of the newest of `count` tasks."""
        tasks: list[TaskShares] = [*self.tasks, *[{}] * (count - len(self.tasks))]
        tasks[-1] = {**tasks[-1], owner: dict(tensors)}
        return Shares(tasks)

    def of(self, owner: str, labels: Tensor, stops: Sequence[int]) -> list[Share]:
        """Return one owner's shares.

        Args:
            owner: the method or one of the statistics.
            labels: [columns], the label number of each logit column.
            stops: for each task the column behind its last.
        """
        found, first = list[Share](), 0
        for stop, task in zip(stops, self.tasks, strict=False):
            if owner in task:
                found.append(Share(task[owner], labels[first:stop]))
                first = stop
        return found

    def with_task(self, task: int, share: TaskShares) -> "Shares":
        """Return the shares with another one of a task."""
        return Shares([*self.tasks[:task], share, *self.tasks[task + 1 :]])

    def pending(self, task: int) -> range:
        """Return the tasks up to `task` that come after the last one before it with a share."""
        with_share = [t for t in range(task) if self.tasks[t]]
        return range(with_share[-1] + 1 if with_share else 0, task + 1)

    @property
    def missing(self) -> range:
        """The last tasks without a share."""
        last = len(self.tasks) - 1
        return range(0) if last < 0 or self.tasks[last] else self.pending(last)

    def apart(self) -> "Shares":
        """Return the shares of those tasks that have one of their own."""
        return Shares([own if len(self.pending(task)) == 1 else {} for task, own in enumerate(self.tasks)])

    def covered(self, task: int) -> range:
        """Return the tasks whose sums are kept with those of a task: itself, or more in a learner of softtf 0.1."""
        return next((self.pending(t) for t in range(task, len(self.tasks)) if self.tasks[t]), range(task, task + 1))

    def tensors(self, task: int) -> dict[str, Tensor]:
        """Return what a task added as tensors to save."""
        own = self.tasks[task] if task < len(self.tasks) else {}
        return {start_of(owner) + name: value for owner, share in own.items() for name, value in share.items()}


def start_of(owner: str) -> str:
    """Return what the names of an owner's saved tensors begin with."""
    return SHARE if owner == METHOD else f"{SHARE}{STATISTICS}{owner}."


def read_shares(values: Mapping[str, Tensor], forms: Mapping[str, Forms], where: str, start: str = SHARE) -> TaskShares:
    """Return the shares among a task's tensors.

    Args:
        values: the tensors whose names begin with `start`.
        forms: by whose they are, the forms that they must have.
        where: what messages call the source, such as the file.
        start: of the names.

    Raises:
        UserError: a name is missing or unknown, or a tensor has another shape, type or values than it can have.
    """
    left, found = dict(values), dict[str, Mapping[str, Tensor]]()
    for owner in sorted(forms, reverse=True):  # the method's own names last: they begin as all do
        begin = start + start_of(owner).removeprefix(SHARE)
        found[owner] = {name.removeprefix(begin): left.pop(name) for name in [*left] if name.startswith(begin)}
        check_forms(found[owner], forms[owner], where, begin)
    if left:
        raise UserError(f"{where}: {min(left)!r} is not expected here")
    return found

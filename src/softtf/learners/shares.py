"""A learner's shares: what each task added to the sums of the method and of its statistics.

They are saved with their task. A share of the method is saved under `share.`, followed by the name that earlier
versions, which kept one sum of all tasks, saved under `memory.`; one of statistics under `share.statistics.NAME.`.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from softtf.errors import UserError
from softtf.files.tensor_form import Forms, check_forms
from softtf.statistics import Share

SHARE, STATISTICS = "share.", "statistics."
METHOD = ""
"""The owner of the shares of the method's own sums; other owners are the names of statistics."""

TaskShares = Mapping[str, Mapping[str, Tensor]]
"""What one task added, by owner."""


class Shares:
    """The shares of a learner's finished tasks; an object of this class never changes.

    tasks: what each task added. Where the sums of several tasks are kept as one (`LearnerSpec.sums`, or an earlier
    version), the last of them has the share of all, and the others have none.
    """

    def __init__(self, tasks: Sequence[TaskShares] = ()) -> None:
        self.tasks = tuple(tasks)

    def with_newest(self, count: int, owner: str, tensors: Mapping[str, Tensor]) -> "Shares":
        """Return the shares with one more share of the newest of `count` tasks."""
        tasks: list[TaskShares] = [*self.tasks, *[{}] * (count - len(self.tasks))]
        tasks[-1] = {**tasks[-1], owner: dict(tensors)}
        return Shares(tasks)

    def of(self, owner: str, labels: Tensor, stops: Sequence[int]) -> list[Share]:
        """Return one owner's shares.

        Args:
            owner: the method, or the name of statistics.
            labels: [columns], the label number of each logit column.
            stops: for each task the number of the column after its last.
        """
        found, first = list[Share](), 0
        for stop, task in zip(stops, self.tasks, strict=False):
            if owner in task:
                found.append(Share(task[owner], labels[first:stop]))
                first = stop
        return found

    def with_task(self, task: int, share: TaskShares) -> "Shares":
        """Return the shares with another share for a task."""
        return Shares([*self.tasks[:task], share, *self.tasks[task + 1 :]])

    def pending(self, task: int) -> range:
        """Return the tasks up to `task` that come after the last earlier task with a share."""
        with_share = [t for t in range(task) if self.tasks[t]]
        return range(with_share[-1] + 1 if with_share else 0, task + 1)

    @property
    def missing(self) -> range:
        """The last tasks without a share."""
        last = len(self.tasks) - 1
        return range(0) if last < 0 or self.tasks[last] else self.pending(last)

    def apart(self) -> "Shares":
        """Return only the shares that belong to a single task."""
        return Shares([own if len(self.pending(task)) == 1 else {} for task, own in enumerate(self.tasks)])

    def covered(self, task: int) -> range:
        """Return the tasks whose sums are kept with those of a task: itself, or more if they are one."""
        return next((self.pending(t) for t in range(task, len(self.tasks)) if self.tasks[t]), range(task, task + 1))

    def tensors(self, task: int) -> dict[str, Tensor]:
        """Return what a task added, as tensors to save."""
        own = self.tasks[task] if task < len(self.tasks) else {}
        return {start_of(owner) + name: value for owner, share in own.items() for name, value in share.items()}


def start_of(owner: str) -> str:
    """Return the beginning of the names of an owner's saved tensors."""
    return SHARE if owner == METHOD else f"{SHARE}{STATISTICS}{owner}."


def read_shares(values: Mapping[str, Tensor], forms: Mapping[str, Forms], where: str, start: str = SHARE) -> TaskShares:
    """Return the shares among a task's tensors.

    Args:
        values: the tensors whose names begin with `start`.
        forms: the forms that the tensors must have, by owner.
        where: the source, such as the file, as messages name it.
        start: the beginning of the names.

    Raises:
        UserError: a name is missing or unknown, or a tensor has a wrong shape, type or value.
    """
    left, found = dict(values), dict[str, Mapping[str, Tensor]]()
    for owner in sorted(forms, reverse=True):  # the method's own names come last, as all names begin like them
        begin = start + start_of(owner).removeprefix(SHARE)
        found[owner] = {name.removeprefix(begin): left.pop(name) for name in [*left] if name.startswith(begin)}
        check_forms(found[owner], forms[owner], where, begin)
    if left:
        raise UserError(f"{where}: {min(left)!r} is not expected here")
    return found

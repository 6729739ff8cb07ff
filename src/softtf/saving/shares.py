"""What each task added to sums, in the file of its tensors; and sums of several tasks in one.

A learner with one sum of all tasks has it in the file of the newest, which says how many tasks it covers. In a run the
file of each earlier task has the sum as it was then; the newest replaces it. Earlier versions kept one sum with what
tasks share; it is loaded as the share of all these tasks together.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.shares import SHARE, Shares, read_shares, start_of
from softtf.learners.state import MEMORY

COVERS = SHARE + "covers"


def task_tensors_of(learner: Learner, task: int) -> dict[str, Tensor]:
    """Return all tensors of one task: its parameters, and what it added to sums."""
    shares = learner.shares.tensors(task)
    count = len(learner.shares.pending(task))
    covers = {COVERS: torch.tensor(count)} if shares and count > 1 else {}
    return learner.task_state_dict(task) | shares | covers


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a task's parameters, and what it added to sums."""
    shares = {name: value for name, value in tensors.items() if name.startswith(SHARE)}
    return {name: value for name, value in tensors.items() if name not in shares}, shares


def put_shares(learner: Learner, tensors: Mapping[str, Tensor], labels: Tensor, where: str) -> range:
    """Give the newest task what it added to sums.

    Args:
        learner: with that task.
        tensors: as `split` returned them.
        labels: [columns so far], the label number of each logit column.
        where: what messages call the source, such as the file.

    Returns:
        the tasks before it whose sums are still to be loaded.

    Raises:
        UserError: a name is missing or unknown, or a tensor has another shape, type or values than it can have.
    """
    pending = learner.shares.pending(learner.task)
    left = dict(tensors)
    covers = left.pop(COVERS, torch.tensor(1))
    if not left:
        return range(0)
    if covers.shape or covers.dtype != torch.int64 or int(covers) not in (1, len(pending), pending.stop):
        raise UserError(f"{where}: {COVERS!r} must be 1, {len(pending)} or {pending.stop}: the tasks whose sums it has")
    first = pending.stop - int(covers)
    if first < pending.start:
        learner.shares = Shares([{}] * pending.stop)
    found = read_shares(left, learner.all_share_forms(range(first, pending.stop), labels), where)
    learner.shares = learner.shares.with_task(learner.task, found)
    return range(pending.start, first)


def take_old_sums(
    learner: Learner, values: Mapping[str, Tensor], tasks: range, labels: Tensor, where: str
) -> dict[str, Tensor]:
    """Return what tasks share without the sums that an earlier version kept there; these become the tasks' share.

    Args:
        learner: with these tasks.
        values: by the names of `shared_state_dict`.
        tasks: whose sums they are, if there are any.
        labels: [columns so far], the label number of each logit column.
        where: what messages call the source, such as the file.

    Raises:
        UserError: a tensor has another shape, type or values than it can have.
    """
    forms = learner.all_share_forms(tasks, labels) if tasks else {}
    names = [MEMORY + start_of(owner).removeprefix(SHARE) + name for owner, own in forms.items() for name in own]
    if not names or not values.keys() >= set(names):
        return dict(values)
    found = read_shares({name: values[name] for name in names}, forms, where, MEMORY)
    learner.shares = learner.shares.with_task(tasks.stop - 1, found)
    wanted = {start + name for start, own in learner.shared_forms(labels).items() for name in own}
    return {name: value for name, value in values.items() if name in wanted or name not in names}

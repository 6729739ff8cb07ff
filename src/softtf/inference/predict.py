"""Answers for inputs whose task is unknown (or given): probabilities over the classes seen, and the task named."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.answering import Kept, answering
from softtf.backbones.base import Backbone
from softtf.devices.memory import needs_memory
from softtf.errors import UserError
from softtf.inference.answers import answer
from softtf.inference.clock import Clock
from softtf.inference.policy import Policy
from softtf.inference.unknown import Unknown
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.network import SharedPass
from softtf.streams import Examples, Loader


@dataclass(frozen=True)
class Answers:
    """What was found for each input.

    Attributes:
        probabilities: [samples, classes seen], float32 on the CPU.
        tasks: [samples], the task named.
        classes: of the columns.
        networks: [samples, tasks], the share of each task's network in the answer.
        unknown: [samples], from 0 to 1, the share of known inputs that are more familiar; None if nobody asked.
    """

    probabilities: Tensor
    tasks: Tensor
    classes: ClassTable = field(default_factory=ClassTable)
    unknown: Tensor | None = None
    networks: Tensor = field(default_factory=lambda: torch.empty(0, 0))


@needs_memory("predict", lambda learner, loader, *_, **__: loader.batch_size)
@torch.no_grad()
def predict(
    learner: Learner,
    loader: Loader,
    policy: Policy,
    *,
    groups: Tensor | None = None,
    task: int | Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    unknown: Unknown | None = None,
    kept: Kept | None = None,
) -> Answers:
    """Answer for every input of a loader; inputs of different tasks share a pass.

    Args:
        learner: with at least one task.
        loader: in test mode; its batch size bounds the memory, not the answers.
        policy: which task inference; its own pooling is over consecutive inputs.
        groups: [samples], group numbers from 0: evidence is pooled within each, wherever its members stand.
        task: answer with this task's network, or with that of each sample's task, over the task's own classes; `policy`
            is then not used.
        dtype: of the matrix products.
        unknown: tells how unknown each input is; None if nobody asks.
        kept: values that were computed from this learner's slots, for later calls to use; None keeps them for this call
            alone.

    Raises:
        UserError: an input cannot be loaded, or there is not enough memory.
    """
    count = len(loader.examples)
    device = next(learner.parameters()).device
    given = None if task is None else torch.as_tensor(task).expand(count)
    if given is not None:
        policy, groups = Policy("oracle"), None
    if groups is None:
        groups = policy.pooling.groups(count)
    if learner.network.backbone.reads_text:
        groups = shortest_first(groups, loader.lengths())
    probabilities = torch.empty(count, learner.num_classes)
    tasks = torch.empty(count, dtype=torch.int64)
    networks = torch.empty(count, learner.num_tasks)
    strange = None if unknown is None else torch.empty(count, dtype=torch.float64)
    clock = Clock(device)
    with learner.computing_in(dtype), answering({} if kept is None else kept):
        for rows in whole_groups(groups, loader.batch_size):
            batches = zip(rows.split(loader.batch_size), loader.batches(rows.tolist()), strict=True)
            passes: Iterable[SharedPass] = (
                SharedPass(learner.network, inputs, given=None if given is None else given[part])
                for part, inputs in batches
            )
            found_unknown: list[Tensor] = []
            if unknown is not None:
                passes = unknown.watch(learner, passes, found_unknown)
            members = torch.unique(groups[rows], return_inverse=True)[1].to(device)
            found = answer(learner, passes, [policy], [members], loader.batch_size, clock)
            probabilities[rows], networks[rows] = (part[:, 0].float().cpu() for part in found[:2])
            tasks[rows] = found.tasks[:, 0].cpu()
            clock.read()
            if strange is not None:
                strange[rows] = torch.cat(found_unknown)
    return Answers(probabilities, tasks, unknown=strange, networks=networks)


def by_label(probabilities: Tensor, column_labels: Tensor) -> Tensor:
    """Add up the columns that stand for one label: [..., columns] to [..., labels]."""
    labels = int(column_labels.max()) + 1
    summed = torch.zeros(*probabilities.shape[:-1], labels, dtype=probabilities.dtype)
    return summed.index_add_(-1, column_labels, probabilities)


def shortest_first(groups: Tensor, lengths: Tensor) -> Tensor:
    """Return the group numbers [samples], numbered anew in the order of the groups' longest texts.

    Texts that are run together are then of like length, and little is computed on padding.
    """
    longest = lengths.new_zeros(int(groups.max()) + 1).scatter_reduce_(0, groups, lengths, "amax")
    return longest.argsort(stable=True).argsort()[groups]


def whole_groups(groups: Tensor, batch_size: int) -> list[Tensor]:
    """Return sample numbers in runs of whole groups, each near `batch_size` samples or a single larger group."""
    order = torch.argsort(groups, stable=True)
    sizes = torch.unique_consecutive(groups[order], return_counts=True)[1].tolist()
    runs: list[int] = []
    for size in sizes:
        if runs and runs[-1] + size <= batch_size:
            runs[-1] += size
        else:
            runs.append(size)
    return list(order.split(runs))


def test_loader(examples: Examples, backbone: Backbone, batch_size: int) -> Loader:
    """Return a loader of a backbone's inputs, unaugmented and in their order.

    Raises:
        UserError: the batch size is out of bounds.
    """
    unread = torch.zeros(len(examples), dtype=torch.int64)
    device = next(backbone.parameters()).device
    return Loader(examples, unread, backbone.preparation, False, batch_size, device)


def group_numbers(groups: Sequence[Hashable], count: int) -> Tensor:
    """Return group numbers from 0 in order of appearance, [count].

    Raises:
        UserError: there is not one group per input, or a group cannot be hashed.
    """
    if len(groups) != count:
        raise UserError(f"groups must name one group per input: {count} inputs but {len(groups)} groups")
    numbers: dict[Hashable, int] = {}
    try:
        return torch.tensor([numbers.setdefault(g, len(numbers)) for g in _plain(groups)])
    except TypeError:
        raise UserError("every group must be hashable, such as a string or a number") from None


def _plain(values: Sequence[Any]) -> list[Hashable]:
    """Return the values with array scalars as Python ones, so that equal ones are equal."""
    return [v.item() if hasattr(v, "item") else v for v in values]

"""A stream of tasks, made from several data sets or by splitting one."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import overload

from softtf.config.arguments import checked
from softtf.config.bounds import Count
from softtf.config.tree import check_value
from softtf.errors import UserError
from softtf.seeds import derive_seed
from softtf.streams.examples import Examples
from softtf.streams.task import Task

TOO_FEW = "; if a part is held out for testing, each task needs a class with two examples"


class TaskStream(Sequence[Task]):
    """The tasks in the order of learning; a slice is a shorter stream."""

    @checked
    def __init__(self, tasks: Iterable[Task], name: str = "stream") -> None:
        self.name = name
        self._tasks = tuple(tasks)
        if not self._tasks:
            raise UserError(f"{name}: a stream needs at least one task")

    def __len__(self) -> int:
        return len(self._tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> TaskStream: ...
    def __getitem__(self, index: int | slice) -> Task | TaskStream:
        return TaskStream(self._tasks[index], self.name) if isinstance(index, slice) else self._tasks[index]

    def __repr__(self) -> str:
        return f"TaskStream({self.name!r}, {len(self)} tasks)"


@checked
def split_by_class(
    train: Examples, test: Examples | None, num_tasks: int | None = None, seed: int | None = None, name: str = "stream"
) -> TaskStream:
    """Return a stream in which every class belongs to one task.

    Args:
        train: the training examples; their `classes` are dealt to the tasks in order.
        test: the test examples of the same classes.
        num_tasks: the number of tasks; None is `tasks_for` the classes. Tasks differ by at most one class; the larger
            ones come first.
        seed: shuffles which classes go together; None keeps the order. Within a task the order stays.
        name: the stream's name.

    Raises:
        UserError: there are fewer classes than tasks, test classes that `train` lacks, or a task without test
            examples.
    """
    classes = list(train.classes)
    check_value(Count | None, num_tasks, f"{name}: num_tasks")
    num_tasks = num_tasks or tasks_for(len(classes))
    if len(classes) < num_tasks:
        raise UserError(
            f"{name}: {len(classes)} classes do not fill {num_tasks} tasks; give fewer tasks"
            f" (num_tasks, at most {len(classes)})"
        )
    _check_test_classes(train, test)
    order = list(range(len(classes)))
    parts = [None if part is None else (part, _rows_of(part.labels)) for part in (train, test)]
    if seed is not None:
        random.Random(derive_seed(seed, "class order")).shuffle(order)
    tasks = []
    for index, positions in enumerate(_deal(order, num_tasks)):
        chosen = tuple(classes[p] for p in sorted(positions))
        task_name = f"{name}, task {index + 1}"
        what = f"the classes of task {task_name!r} ({chosen[0]!r}, ...)"
        own = [None if part is None else _with(*part, chosen, what) for part in parts]
        assert own[0] is not None
        tasks.append(Task(index, task_name, chosen, own[0], own[1]))
    return TaskStream(tasks, name)


@checked
def split_by_task(
    train: Examples, test: Examples | None, num_tasks: int | None = None, name: str = "stream"
) -> TaskStream:
    """Return a stream with one task for each value of `train.tasks`, in the order of their first rows.

    Args:
        train: the training examples; two tasks may share labels.
        test: the test examples of the same tasks.
        num_tasks: how many of the first tasks to take; None for all.
        name: the stream's name.

    Raises:
        UserError: the data name no tasks, or fewer than `num_tasks`; or a task has no test examples, or test classes
            that its training data lack.
    """
    if train.tasks is None or (test is not None and test.tasks is None):
        raise UserError(f"{name}: the rows do not name their tasks; give task_column, the column of the tasks")
    present = set(train.tasks)
    values = [value for value in train.task_order if value in present]
    if num_tasks is not None and len(values) < num_tasks:
        raise UserError(f"{name}: the data name {len(values)} tasks, not {num_tasks}; give fewer tasks")
    parts = [None if part is None else (part, _rows_of(part.tasks or ())) for part in (train, test)]
    tasks = []
    for index, value in enumerate(values[:num_tasks]):
        own = [None if part is None else _with(*part, (value,), f"task {value!r}") for part in parts]
        assert own[0] is not None
        _check_test_classes(own[0], own[1])
        tasks.append(Task(index, str(value), own[0].classes, own[0], own[1]))
    return TaskStream(tasks, name)


@checked
def from_datasets(
    datasets: Sequence[tuple[Examples, Examples | None]] | Mapping[str, tuple[Examples, Examples | None]],
    name: str = "stream",
) -> TaskStream:
    """Return a stream with one task for each `(train, test)` pair, in the order given.

    A task's name is the key of the mapping, or the name of its training data. Two tasks may share labels.

    Raises:
        UserError: there are no data sets, or test classes that the training data lack.
    """
    named = datasets.items() if isinstance(datasets, Mapping) else [(pair[0].name, pair) for pair in datasets]
    tasks = []
    for index, (task_name, (train, test)) in enumerate(named):
        _check_test_classes(train, test)
        tasks.append(Task(index, task_name, train.classes, train, test))
    return TaskStream(tasks, name)


def tasks_for(classes: int) -> int:
    """Return how many tasks classes are dealt to if nobody says: five, or fewer so that each has two classes."""
    return min(5, max(1, classes // 2))


def _deal(order: list[int], num_tasks: int) -> Iterator[list[int]]:
    size, larger = divmod(len(order), num_tasks)
    for index in range(num_tasks):
        start = index * size + min(index, larger)
        yield order[start : start + size + (index < larger)]


def _rows_of(values: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """Return the ascending indices of each value, in one pass for all tasks."""
    rows: dict[Hashable, list[int]] = {}
    for index, value in enumerate(values):
        rows.setdefault(value, []).append(index)
    return rows


def _with(examples: Examples, rows: Mapping[Hashable, list[int]], values: Sequence[Hashable], what: str) -> Examples:
    """Return the examples of some values, in their order; errors call these values `what`."""
    indices = sorted(index for value in values for index in rows.get(value, ()))
    if not indices:
        raise UserError(f"{examples.name}: no examples of {what}{TOO_FEW}")
    return examples.select(indices)


def _check_test_classes(train: Examples, test: Examples | None) -> None:
    if test is not None and (unseen := set(test.classes).difference(train.classes)):
        raise UserError(f"{test.name}: class {next(iter(unseen))!r} is in the test data but not in the training data")

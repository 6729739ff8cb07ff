"""Which labels a learner knows, and which logit column stands for which."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import torch
from torch import Tensor

from softtf.errors import UserError, unknown


@dataclass(frozen=True)
class Record:
    """When a task was learned, from how many examples, and how well; unknown for tasks that softtf 0.1 saved.

    Attributes:
        learned: the time at which it was finished, such as 2026-11-26T10:14:17Z. If SOURCE_DATE_EPOCH is set in the
            environment it is that time, so that the same run writes the same bytes (reproducible-builds.org).
        examples: the number of examples of each class.
        accuracy: the percentage of its test examples that was answered right when it was learned; None if none were
            given.
        tested: the number of these test examples.
        key: 16 hex digits that name the task wherever its part goes, whatever it is called; None if it is not known.
        place: how many tasks had been learned before it.
        shaped_by: the key and the name, at that time, of the tasks whose parameters its own started from, directly or
            through other tasks; earliest first. The list goes back to the nearest one that is an earlier task of the
            learner; the tasks before that are in the record of that task (`softtf.learners.descent.lineages`).
        gone: in words, what it still holds of tasks and classes that were removed (`softtf.learners.descent`).
    """

    learned: str | None = None
    examples: tuple[int, ...] | None = None
    accuracy: float | None = None
    tested: int | None = None
    key: str | None = None
    place: int = 0
    shaped_by: tuple[tuple[str, str], ...] = ()
    gone: tuple[str, ...] = ()

    @classmethod
    def now(cls, examples: Sequence[int]) -> "Record":
        """Return the record of a task that is learned now."""
        seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
        when = datetime.fromtimestamp(int(seconds), UTC) if seconds.isdecimal() else datetime.now(UTC)
        return cls(f"{when:%Y-%m-%dT%H:%M:%SZ}", tuple(examples))

    def in_words(self) -> str:
        """Return the accuracy in words; it is known."""
        return f"{self.accuracy:.1f} % of its {self.tested:,} test examples were right when it was learned"


class ClassTable:
    """The classes of each task in the order of learning; a label may return in a later task if that is allowed.

    tasks: the classes of each task. names: the tasks' names. records: when each was learned, and so on.
    """

    def __init__(self, allow_repeated: bool = False) -> None:
        self.allow_repeated = allow_repeated
        self.tasks: list[tuple[Hashable, ...]] = []
        self.names: list[str] = []
        self.records: list[Record] = []
        self._numbers: dict[Hashable, int] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the lists; what is in them never changes."""
        other = type(self)(self.allow_repeated)
        other.tasks, other.names, other.records = [*self.tasks], [*self.names], [*self.records]
        other._numbers = {**self._numbers}
        return other

    @property
    def labels(self) -> list[Hashable]:
        """All distinct labels in the order in which they were first learned; a label's place is its number."""
        return list(self._numbers)

    def check(self, classes: Sequence[Hashable]) -> None:
        """Refuse a class that a task has twice, and, unless that is allowed, classes that were learned before.

        Raises:
            UserError: the message names the labels and the remedy.
        """
        if len(set(classes)) < len(classes):  # 1, True and 1.0 are one label to Python
            twice = next(label for place, label in enumerate(classes) if label in classes[:place])
            raise UserError(f"a task has the class {twice!r} twice; each class of a task needs its own label")
        seen = [label for label in classes if label in self._numbers]
        if seen and not self.allow_repeated:
            listed = ", ".join(map(repr, seen[:5])) + (", ..." if len(seen) > 5 else "")
            raise UserError(
                f"learned already in an earlier task: {listed}; leave these classes out, or rename a label that means"
                " another class now; if it means the same class, build the classifier with"
                " repeated_classes='allow' (a run: --stream.merge-labels; softtf learn: --allow-repeated) so that tasks"
                " can share labels"
            )

    def add(self, classes: Sequence[Hashable], name: str, record: Record = Record()) -> None:
        """Append a task's classes."""
        self.check(classes)
        self.tasks.append(tuple(classes))
        self.names.append(name)
        self.records.append(record)
        for label in classes:
            self._numbers.setdefault(label, len(self._numbers))

    def number(self, label: Hashable) -> int:
        """Return a label's number.

        Raises:
            UserError: the label was never learned.
        """
        try:
            return self._numbers[label]
        except (KeyError, TypeError):  # TypeError: it cannot be hashed
            raise UserError(f"label {label!r} was never learned; known are {len(self._numbers)} labels") from None

    def task_number(self, task: int | str) -> int:
        """Return the number, from 0, of the task with this number or name.

        Raises:
            UserError: there is no such task, or several have the name.
        """
        if type(task) is int and 0 <= task < len(self.tasks):
            return task
        places = [i for i, name in enumerate(self.names) if name == task]
        if len(places) == 1:
            return places[0]
        if places:
            raise UserError(f"tasks {', '.join(map(str, places))} are all called {task!r}; give the number of one")
        if isinstance(task, str):
            raise unknown("task", task, self.names)
        known = f"tasks 0 to {len(self.tasks) - 1} were learned" if self.tasks else "no task was learned yet"
        raise UserError(f"there is no task {task!r}; {known}")

    def numbered(self, word: str) -> int:
        """Return the number, from 0, of the task that a word of a command names: by number, from 1, or by name.

        Raises:
            UserError: as for `task_number`.
        """
        known = word.isdecimal() and 1 <= int(word) <= len(self.tasks)
        return int(word) - 1 if known else self.task_number(word)

    def column_labels(self) -> Tensor:
        """Return the label number of each logit column, [classes of all tasks]."""
        return torch.tensor([self._numbers[label] for classes in self.tasks for label in classes])


def own_columns(labels: Sequence[Hashable], classes: Sequence[Hashable]) -> Tensor:
    """Return each label's place among a task's own classes, int64 [examples]."""
    place = {label: i for i, label in enumerate(classes)}
    return torch.tensor([place[label] for label in labels], dtype=torch.int64)

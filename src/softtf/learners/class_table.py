"""Which labels a learner knows, and which logit column stands for which."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from softtf.errors import UserError


class ClassTable:
    """The classes of each task in the order of learning; a label may come back in a later task if that is allowed."""

    def __init__(self, allow_repeated: bool = False) -> None:
        self.allow_repeated = allow_repeated
        self.tasks: list[tuple[Hashable, ...]] = []
        self.names: list[str] = []
        self._numbers: dict[Hashable, int] = {}

    @property
    def labels(self) -> list[Hashable]:
        """Every distinct label, in the order in which it was first learned; its place is its number."""
        return list(self._numbers)

    def check(self, classes: Sequence[Hashable]) -> None:
        """Refuse a class that a task names twice, and classes that were learned before, unless that is allowed.

        Raises:
            UserError: naming the labels and the remedy.
        """
        if len(set(classes)) < len(classes):  # 1, True and 1.0 are one label to Python
            twice = next(label for place, label in enumerate(classes) if label in classes[:place])
            raise UserError(f"a task has the class {twice!r} twice; each class of a task needs a label of its own")
        seen = [label for label in classes if label in self._numbers]
        if seen and not self.allow_repeated:
            listed = ", ".join(map(repr, seen[:5])) + (", ..." if len(seen) > 5 else "")
            raise UserError(
                f"learned already in an earlier task: {listed}; leave these classes out, or, where a label means"
                " another class now, name it otherwise; where it means the same, build the classifier with"
                " repeated_classes='allow' (a run: --stream.merge-labels) to let tasks share labels"
            )

    def add(self, classes: Sequence[Hashable], name: str) -> None:
        """Append a task's classes."""
        self.check(classes)
        self.tasks.append(tuple(classes))
        self.names.append(name)
        for label in classes:
            self._numbers.setdefault(label, len(self._numbers))

    def number(self, label: Hashable) -> int:
        """Return a label's number.

        Raises:
            UserError: the label was never learned.
        """
        try:
            return self._numbers[label]
        except KeyError:
            raise UserError(f"label {label!r} was never learned; known are {len(self._numbers)} labels") from None

    def column_labels(self) -> Tensor:
        """Return the label number of each logit column, [classes of all tasks]."""
        return torch.tensor([self._numbers[label] for classes in self.tasks for label in classes])


def own_columns(labels: Sequence[Hashable], classes: Sequence[Hashable]) -> Tensor:
    """Return each label's place among a task's own classes, int64 [examples]."""
    place = {label: i for i, label in enumerate(classes)}
    return torch.tensor([place[label] for label in labels], dtype=torch.int64)

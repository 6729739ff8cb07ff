"""The accuracy a[i, t] on task i after learning task t, and every metric that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softtf.errors import UserError

LARGEST = 2**53
"""The most samples of a test set: a float64 holds these numbers exactly."""


@dataclass
class AccuracyMatrix:
    """Counts of right answers under one policy; the metrics are in percent.

    Attributes:
        correct: row t has the right answers on test sets 0 to t after task t.
        total: [tasks], the size of each test set.
        task_correct: like `correct`, the samples whose task was inferred correctly; None if not recorded.

    Raises:
        UserError: The counts do not fit together.
    """

    correct: list[list[int]] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    task_correct: list[list[int]] | None = None

    def __post_init__(self) -> None:
        rows, total, named = self.correct, self.total, self.task_correct
        if len(total) != len(rows) or (named is not None and len(named) != len(rows)):
            raise UserError(f"accuracy matrix: {len(rows)} rows of counts need {len(rows)} test sizes and task rows")
        self.correct, self.total, self.task_correct = [], [], None
        for t, row in enumerate(rows):
            self.add_row(row, total[: t + 1], None if named is None else named[t])

    def add_row(self, correct: Sequence[int], total: Sequence[int], task_correct: Sequence[int] | None = None) -> None:
        """Add the counts on the test sets 0..t after learning task t, the next one.

        Args:
            correct: [t + 1], right answers.
            total: [t + 1], samples; those of earlier tasks as before.
            task_correct: [t + 1], samples whose task was inferred correctly; given for all rows or for none.

        Raises:
            UserError: The counts do not fit together or to the rows before.
        """
        t = len(self.correct)
        where = f"accuracy matrix after task {t}"
        sizes = _counts(total, t, f"{where}: test sizes")
        right = _counts(correct, t, f"{where}: right answers", sizes)
        if sizes[:t] != self.total:
            raise UserError(f"{where}: test sizes were {self.total}, now {sizes[:t]}; a test set may not change")
        if 0 in sizes:
            raise UserError(f"{where}: task {sizes.index(0)} has no test samples")
        if t and (task_correct is None) != (self.task_correct is None):
            raise UserError(f"{where}: task answers must be recorded for all rows or for none")
        if task_correct is not None:
            named = _counts(task_correct, t, f"{where}: right tasks", sizes)
            self.task_correct = [*(self.task_correct or []), named]
        self.correct.append(right)
        self.total = sizes

    @property
    def a(self) -> NDArray[np.float64]:
        """[tasks, tasks], percent: a[i, t] on task i after learning task t; NaN where t < i."""
        a = np.full((len(self.total), len(self.total)), np.nan)
        for t, row in enumerate(self.correct):
            a[: t + 1, t] = 100 * np.array(row) / np.array(self.total[: t + 1])
        return a

    @property
    def acc(self) -> float:
        """ACC, mean over i of a[i, T]."""
        return float(self._filled()[:, -1].mean())

    @property
    def forget(self) -> float:
        """Mean over i < T of (max over t of a[i, t]) - a[i, T], never negative; 0 for a single task."""
        a = self._filled()
        if len(a) == 1:
            return 0.0
        return float((np.nanmax(a[:-1], axis=1) - a[:-1, -1]).mean())

    @property
    def average_incremental(self) -> float:
        """Mean over t of (mean over i <= t of a[i, t])."""
        return float(np.nanmean(self._filled(), axis=0).mean())

    @property
    def bwt(self) -> float:
        """Backward transfer, mean over i < T of a[i, T] - a[i, i]; 0 for a single task."""
        a = self._filled()
        return float((a[:, -1] - a.diagonal())[:-1].mean()) if len(a) > 1 else 0.0

    @property
    def learning_accuracy(self) -> float:
        """Mean over i of a[i, i], each task's accuracy when it was just learned."""
        return float(self._filled().diagonal().mean())

    @property
    def pooled(self) -> float:
        """Percent of all test samples answered right at the end, so that large tasks weigh more."""
        self._filled()
        return 100 * sum(self.correct[-1]) / sum(self.total)

    @property
    def task_identity(self) -> float | None:
        """Percent of all test samples whose task was inferred correctly at the end; None if not recorded."""
        self._filled()
        return None if self.task_correct is None else 100 * sum(self.task_correct[-1]) / sum(self.total)

    def _filled(self) -> NDArray[np.float64]:
        if not self.correct:
            raise UserError("the accuracy matrix is empty; evaluate at least one task first")
        return self.a

    def to_csv(self) -> str:
        """Return `a` as CSV: a row per task tested, a column per task learned, empty where undefined."""
        size = range(len(self.total))
        lines = [",".join(["task", *(f"after_{t + 1}" for t in size)])]
        for i, row in enumerate(self.a):
            lines.append(",".join([str(i + 1), *(f"{row[t]:.4f}" if t >= i else "" for t in size)]))
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON data that `from_dict` reads."""
        return {"correct": self.correct, "total": self.total, "task_correct": self.task_correct}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AccuracyMatrix":
        """Build the matrix from what `to_dict` made.

        Raises:
            UserError: A key is missing or extra, or the counts do not fit together.
        """
        keys = {"correct", "total", "task_correct"}
        if not isinstance(data, Mapping) or data.keys() != keys:
            found = sorted(map(str, data)) if isinstance(data, Mapping) else data
            raise UserError(f"an accuracy matrix has exactly the keys {', '.join(sorted(keys))}, not {found}")
        for key in keys:
            if not isinstance(data[key], list) and not (key == "task_correct" and data[key] is None):
                raise UserError(f"accuracy matrix: {key} must be a list, not {data[key]!r}")
        return cls(**data)


def _counts(values: Sequence[int], t: int, where: str, limits: Sequence[int] | None = None) -> list[int]:
    """Check t + 1 integers from 0 to `limits`."""
    try:
        counts = [index(value) for value in values]
    except TypeError as error:
        raise UserError(f"{where} must be a list of integers, not {values!r}") from error
    if len(counts) != t + 1:
        raise UserError(f"{where} must be {t + 1} integers, one per task, not {counts}")
    for i, count in enumerate(counts):
        if not 0 <= count <= (LARGEST if limits is None else limits[i]):
            raise UserError(f"{where} on task {i} are {count}" + (f" of {limits[i]}" if limits else ""))
    return counts

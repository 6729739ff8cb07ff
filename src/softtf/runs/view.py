"""What is shown while a run goes on: its tasks, the time left, and the accuracy matrix as it grows.

On a terminal and in a notebook this is redrawn in place, with the bars of the task and of its scoring below it.
Elsewhere each task leaves a line.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, count
from typing import Self

import numpy as np
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.progress import is_live
from softtf.inference.policy import parse_policy
from softtf.runs.run import Run
from softtf.screen import Screen, duration, plain
from softtf.training.loop import TaskCallback
from softtf.training.task import EpochReport, TaskTraining

CELL = 5
"""Characters of a number of the matrix, with the space before it."""
BESIDE = 10
"""Lines of the terminal that the matrix leaves to the rest."""


class Work:
    """Work of one kind in a run, in any unit: what is done, what is left, and how long both take.

    Args:
        amounts: of each task that is still to do.
    """

    def __init__(self, amounts: Sequence[float]) -> None:
        self.left, self.done, self.seconds = float(sum(amounts)), 0.0, 0.0

    def add(self, amount: float, seconds: float) -> None:
        """Count work that was done in that time."""
        self.left, self.done, self.seconds = self.left - amount, self.done + amount, self.seconds + seconds

    def seconds_left(self, more: float = 0.0, took: float = 0.0) -> float | None:
        """Return the time for what is left, at the speed so far; None if nothing was done yet.

        Args:
            more: work that is done and not counted yet.
            took: its time.
        """
        left, done = self.left - more, self.done + more
        if left <= 0:
            return 0.0
        return (self.seconds + took) / done * left if done else None


class RunView(TaskCallback):
    """Shows a run; a context manager, and a callback of each task.

    Args:
        run: with the tasks that are learned already.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.console = run, run.console
        self.examples = [len(task.train) for task in run.stream]
        self.tests = list(accumulate(map(len, run.tests)))  # after each task, all tasks so far are scored
        self.finished, has = run.model.num_tasks, run.folder.scores.has
        self.training = Work(self.examples[self.finished :])
        self.scoring = Work([samples for task, samples in enumerate(self.tests) if not has(task)])
        self.amount, self.share, self.epochs, self.epochs_done, self.begun_at = 0.0, 0.0, 1, 0, 0.0
        self.policy, self.matrix = "", AccuracyMatrix()
        self.bar = Progress(
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
            TextColumn("{task.fields[left]}"),
            console=self.console,
        )
        self.id = self.bar.add_task("tasks learned", total=len(self.examples), left="")
        self.live = Live(get_renderable=self.shown, console=self.console, transient=True)

    def __enter__(self) -> Self:
        if is_live(self.console):
            self._read_matrix()
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    @contextmanager
    def learning(self, index: int) -> Iterator[None]:
        """Time the learning of a task meanwhile."""
        self.amount, self.share, self.begun_at = float(self.examples[index]), 0.0, time.perf_counter()
        yield
        self.training.add(self.amount, time.perf_counter() - self.begun_at)
        self.finished, self.share = index + 1, 0.0

    def begun(self, training: TaskTraining) -> None:
        """Leave out what was done of the task before the run was stopped."""
        before = self.amount * training.epoch / training.epochs
        self.training.left, self.amount = self.training.left - before, self.amount - before
        self.epochs, self.epochs_done = training.epochs - training.epoch, 0

    def step(self, step: int, steps: int) -> None:
        """Note how much of the task is done."""
        self.share = (self.epochs_done + step / steps) / self.epochs

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        """Note that an epoch is done."""
        self.epochs_done += 1

    @contextmanager
    def being_scored(self, index: int) -> Iterator[None]:
        """Time the scoring after a task meanwhile."""
        begun_at = time.perf_counter()
        yield
        self.scoring.add(self.tests[index], time.perf_counter() - begun_at)

    def after_task(self, index: int, accuracies: Mapping[str, float]) -> None:
        """Print the accuracies after a task, by policy, and show the matrix with them."""
        listed = ", ".join(f"{code} {acc:.1f}" for code, acc in accuracies.items())
        left = self.seconds_left()
        more = f"; about {duration(left)} left" if left else ""
        self.console.print(f"after task {index + 1}: ACC {listed}{more}", soft_wrap=True)
        if is_live(self.console):
            self._read_matrix()
            self.live.refresh()

    def seconds_left(self) -> float | None:
        """Return the time left of the run; None before a task was learned in part and one was scored."""
        took = time.perf_counter() - self.begun_at if self.share else 0.0
        training, scoring = self.training.seconds_left(self.amount * self.share, took), self.scoring.seconds_left()
        return None if training is None or scoring is None else training + scoring

    def shown(self) -> Group:
        """Return what is drawn: the bar of the run, and the matrix."""
        left = self.seconds_left()
        words = "" if left is None else f"about {duration(left)} left"
        self.bar.update(self.id, completed=self.finished, left=words)
        if not self.policy:
            return Group(self.bar.get_renderable())
        title = plain(f"accuracy in percent on each task (row) after each task (column); {self.policy}")
        return Group(self.bar.get_renderable(), title, matrix_table(self.matrix, self.console))

    def _read_matrix(self) -> None:
        """Read the matrix of the first policy, as far as no task's counts are lost."""
        scores = self.run.folder.scores
        if tasks := next(task for task in count() if not scores.has(task)):
            code, self.matrix = next(iter(scores.matrices(tasks).items()))
            self.policy = parse_policy(code).title(self.run.config.evaluate.shuffle)


def matrix_table(matrix: AccuracyMatrix, console: Screen) -> Table:
    """Return the newest part of an accuracy matrix that fits on the screen."""
    a = matrix.a
    first_column = max(0, len(a) - (console.width - 2 * CELL) // CELL)
    first_row = max(0, len(a) - max(3, console.height - BESIDE))
    table = Table(box=None, padding=(0, 0, 0, 1))
    for name in ("task", *range(first_column + 1, len(a) + 1)):
        table.add_column(str(name), justify="right")
    for i in range(first_row, len(a)):
        table.add_row(str(i + 1), *("" if np.isnan(value) else f"{value:.0f}" for value in a[i, first_column:]))
    return table

"""Live progress: a bar with the time left on a terminal or in a notebook, one line an epoch elsewhere."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from softtf.errors import visible
from softtf.screen import Screen, say
from softtf.training.task import EpochReport, TaskTraining


class TaskProgress:
    """Shows one task's training; use as a context, with `step` and `epoch` as its callbacks."""

    def __init__(self, training: TaskTraining, name: str, shown: bool = True, console: Screen | None = None) -> None:
        self.training, self.name = training, name
        self.console = console or Screen()
        self.live = self.console.is_terminal or self.console.is_jupyter
        self.shown = shown
        steps = len(training.loader)
        self.done = training.epoch * steps
        self.bar = _bar(self.console, shown and self.live, TextColumn("{task.fields[loss]}", markup=False))
        self.id = self.bar.add_task(visible(name), total=training.epochs * steps, completed=self.done, loss="")
        self.loss = ""
        self.seconds = 0.0
        self.samples = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if error is None and self.shown and self.live:
            line = _line(self.name, [self.loss], self.samples, self.seconds)
            self.console.print(line)

    def step(self, step: int, steps: int) -> None:
        """Move the bar one batch on."""
        self.bar.update(self.id, completed=self.done + step)

    def epoch(self, report: EpochReport) -> None:
        """Note a finished epoch."""
        self.done += len(self.training.loader)
        self.seconds += report.seconds
        self.samples += report.samples
        self.loss = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in report.losses.items())
        self.bar.update(self.id, loss=self.loss)
        if self.shown and not self.live:
            parts = [f"epoch {report.epoch}/{report.epochs}", self.loss]
            say(_line(self.name, parts, report.samples, report.seconds))


def _line(name: str, parts: Sequence[str], samples: int, seconds: float) -> str:
    """Return what is said of an epoch or a task; a method may have no loss to show."""
    rate = samples / seconds if seconds else 0.0
    return f"{name}: {', '.join([*filter(None, parts), f'{seconds:.1f} s', f'{rate:.0f} samples/s'])}"


class ScoringProgress:
    """Shows on a terminal or in a notebook how much of the test data is scored; use as a context, with `told`."""

    def __init__(self, name: str, shown: bool = True, console: Screen | None = None) -> None:
        self.name, self.console = name, console or Screen()
        self.bar = _bar(self.console, shown and (self.console.is_terminal or self.console.is_jupyter))
        self.id = self.bar.add_task(visible(name), total=None)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def told(self, what: str, done: int, total: int) -> None:
        """Show that `done` samples of `total` are through with `what`."""
        self.bar.update(self.id, description=visible(f"{self.name}, {what}"), completed=done, total=total)


def _bar(console: Screen, shown: bool, *beside: ProgressColumn) -> Progress:
    """Return a bar of what is done and the time left, with further columns beside it."""
    left = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), *beside)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *left)
    return Progress(*columns, console=console, transient=True, disable=not shown)

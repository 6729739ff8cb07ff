"""Progress of one task: a bar with the time left on a terminal or in a notebook, one line per epoch elsewhere."""

from collections.abc import Sequence

from rich.progress import TextColumn

from softtf.errors import visible
from softtf.evaluation.progress import bar, is_live
from softtf.screen import Screen
from softtf.training.loop import TaskCallback
from softtf.training.task import EpochReport, TaskTraining


class TaskProgress(TaskCallback):
    """Shows how a task is learned.

    Args:
        name: what to call the task.
        console: where to show it; None for a new one.
    """

    def __init__(self, name: str, console: Screen | None = None) -> None:
        self.name, self.console = name, console or Screen()
        self.live = is_live(self.console)
        self.bar = bar(self.console, True, TextColumn("{task.fields[loss]}", markup=False))
        self.id = self.bar.add_task(visible(name), total=None, loss="")
        self.done, self.samples, self.seconds, self.loss = 0, 0, 0.0, ""

    def begun(self, training: TaskTraining) -> None:
        """Show the bar; a resumed task does not start at 0."""
        steps = len(training.loader)
        self.done = training.epoch * steps
        self.bar.update(self.id, total=training.epochs * steps, completed=self.done)
        self.bar.start()

    def step(self, step: int, steps: int) -> None:
        """Advance the bar by one batch."""
        self.bar.update(self.id, completed=self.done + step)

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        """Show a finished epoch."""
        self.done += len(training.loader)
        self.seconds += report.seconds
        self.samples += report.samples
        self.loss = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in report.losses.items())
        self.bar.update(self.id, loss=self.loss)
        if not self.live:
            parts = [f"epoch {report.epoch}/{report.epochs}", self.loss]
            self.console.print(_line(self.name, parts, report.samples, report.seconds), soft_wrap=True)

    def ended(self, seconds: float, kept: float) -> None:
        """Leave one line in place of the bar."""
        self.bar.stop()
        if self.live:
            self.console.print(_line(self.name, [self.loss], self.samples, self.seconds), soft_wrap=True)

    def closed(self) -> None:
        """Remove the bar."""
        self.bar.stop()


def _line(name: str, parts: Sequence[str], samples: int, seconds: float) -> str:
    """Return the line for an epoch or a task; some methods have no loss to show."""
    rate = samples / seconds if seconds else 0.0
    return f"{name}: {', '.join([*filter(None, parts), f'{seconds:.1f} s', f'{rate:.0f} samples/s'])}"

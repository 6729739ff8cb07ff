"""Progress bars with the time left, on a terminal or in a notebook; the bar of scoring."""

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
from softtf.screen import Screen


class ScoringProgress:
    """Shows how much of the test data is scored; a context manager, whose `told` is the callback."""

    def __init__(self, name: str, shown: bool = True, console: Screen | None = None) -> None:
        self.name = name
        self.bar = bar(console or Screen(), shown)
        self.id = self.bar.add_task(visible(name), total=None)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def told(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` samples are done with the step `what`."""
        self.bar.update(self.id, description=visible(f"{self.name}, {what}"), completed=done, total=total)


def is_live(console: Screen) -> bool:
    """Return whether a console can show a moving bar."""
    return not console.quiet and (console.is_terminal or console.is_jupyter)


def bar(console: Screen, shown: bool, *beside: ProgressColumn) -> Progress:
    """Return a progress bar with the time left and further columns; hidden unless `shown`."""
    left = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), *beside)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *left)
    return Progress(*columns, console=console, transient=True, disable=not (shown and is_live(console)))

"""Progress bars with the time left, on a terminal or in a notebook, and the one that scoring shows."""

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
    """Shows on a terminal or in a notebook how much of the test data is scored; use as a context, with `told`."""

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
        """Show that `done` samples of `total` are through with `what`."""
        self.bar.update(self.id, description=visible(f"{self.name}, {what}"), completed=done, total=total)


def is_live(console: Screen) -> bool:
    """Say whether a bar can move on a console."""
    return console.is_terminal or console.is_jupyter


def bar(console: Screen, shown: bool, *beside: ProgressColumn) -> Progress:
    """Return a bar of what is done and the time left, with further columns beside it; it is hidden unless `shown`."""
    left = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), *beside)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *left)
    return Progress(*columns, console=console, transient=True, disable=not (shown and is_live(console)))

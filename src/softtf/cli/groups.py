"""Runs side by side as a table in the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from softtf.evaluation.metrics import METRICS
from softtf.evaluation.report import differ, with_weights
from softtf.report.comparison import HEADERS, WEIGHTS, Group, table
from softtf.screen import Screen, plain

WIDTH = 120  # of a table that is not shown on a terminal
TITLE = "Mean ± standard deviation over seeds, percent; each row names its policy"


def show_groups(groups: Sequence[Group], console: Screen) -> None:
    """Print the groups as a table, in a pipe as wide as it needs."""
    console.wide(WIDTH).print(rendered(groups))


def rendered(groups: Sequence[Group]) -> Table:
    """Return the groups as a table for the terminal: under each method its policies, the oracle dim."""
    shown = ["acc", "forget", "task_identity", *(name for name, found in METRICS.items() if found.printed)]
    headers, body = table(groups, shown)
    weights = [row[WEIGHTS] for row in body]
    apart = differ(weights)
    grid = Table(box=SIMPLE_HEAD, title_justify="left", padding=0, show_edge=False)
    grid.title = plain(with_weights(TITLE, weights))
    grid.add_column(plain("Method\n policy" + "\n  weights" * apart), min_width=18, overflow="fold")
    for header in headers[2:WEIGHTS]:
        grid.add_column(plain(header.replace(" ", "\n")))
    for header in headers[len(HEADERS) :]:
        words = header.replace(", ", " ").replace(" ", "\n").replace("/", "/\n")
        grid.add_column(plain(words), justify="right", no_wrap=" s" not in header)
    before = ""
    for group, cells in zip(groups, body, strict=True):
        if group.method != before:
            grid.add_row(plain(group.method, style="bold"))
            before = group.method
        first = f" {group.policy}" + f"\n  {cells[WEIGHTS]}" * apart
        numbers = (*cells[2:WEIGHTS], *cells[len(HEADERS) :])
        grid.add_row(plain(first), *map(plain, numbers), style="dim" if group.is_oracle else None)
    return grid

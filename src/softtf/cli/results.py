"""Print the results of a run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from softtf.cli.quickstart import POLICY_NOTE, POLICY_TITLE
from softtf.evaluation.report import Row, render
from softtf.recipes.texts import rows_protocol
from softtf.runs.config import RunConfig
from softtf.screen import Screen


def show(rows: list[Row], config: RunConfig, path: Path, console: Screen) -> None:
    """Print a finished run's rows and its folder."""
    about = f"{config.recipe} on {config.backbone.name}, seed {config.seed}"
    console.print(render(rows, heading(about, config), POLICY_NOTE))
    console.print(f"run folder: {path}", soft_wrap=True)
    tell_page([path], console)


def tell_page(paths: Sequence[Path], console: Screen) -> None:
    """Print the command that makes a page of some runs."""
    console.print(f"as a page: softtf report {shlex.join(map(str, paths))}", soft_wrap=True)


def heading(about: str, config: RunConfig) -> str:
    """Return the heading of a run's table, with its numbers of rows and how labels are merged."""
    parts = (about, rows_protocol(config.stream), config.stream.labels_protocol, POLICY_TITLE)
    return "; ".join(part for part in parts if part)

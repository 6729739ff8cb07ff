"""What commands print of a run's results."""

from pathlib import Path

from softtf.cli.quickstart import POLICY_NOTE, POLICY_TITLE
from softtf.evaluation.report import Row, render
from softtf.recipes.texts import rows_protocol
from softtf.runs.config import RunConfig
from softtf.screen import Screen


def show(rows: list[Row], config: RunConfig, path: Path, console: Screen) -> None:
    """Print a finished run's rows and where it is."""
    about = f"{config.recipe} on {config.backbone.name}, seed {config.seed}"
    console.print(render(rows, heading(about, config), POLICY_NOTE))
    console.print(f"run folder: {path}", soft_wrap=True)


def heading(about: str, config: RunConfig) -> str:
    """Return the heading of a table of a run, with what it says of its rows and its labels."""
    parts = (about, rows_protocol(config.stream), config.stream.labels_protocol, POLICY_TITLE)
    return "; ".join(part for part in parts if part)

"""Figures: each shows the numbers of its runs, found here by another way, and refuses runs of another kind."""

import csv
import io
from typing import Any

from softtf.figures import draw
from softtf.figures.numbers import Numbers


def table(found: Numbers[Any]) -> list[dict[str, str]]:
    """The CSV of a figure, read back."""
    return list(csv.DictReader(io.StringIO(found.to_csv())))


def drawn(name: str, found: Numbers[Any]) -> Any:
    """A figure; its caption is what its numbers say."""
    figure = draw(name, found)
    shown = figure.get_supxlabel().replace("\n", " ")
    assert shown.startswith(found.caption.replace("\n", " ").split(";")[0])
    return figure

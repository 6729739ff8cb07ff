"""Rows of the table, and the targets that they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

HEADERS = ("configuration", "ours", "twin", "ratio", "floor", "share of the floor")
WIDTHS = (80, 9, 9, 7, 9, 18)


@dataclass(frozen=True)
class Row:
    """One configuration; the less, the better.

    Attributes:
        name: what was measured.
        ours: seconds, or bytes.
        twin: the naive twin's, measured in turns with ours.
        floor: what the counted multiply-adds (bytes) take at the machine's own rate.
        unit: `s` or `B`.
    """

    name: str
    ours: float
    twin: float | None = None
    floor: float | None = None
    unit: str = "s"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row's texts under HEADERS."""
        ratio = "" if self.twin is None or self.ours <= 0 else f"{self.twin / self.ours:.2f}"
        share = "" if self.floor is None or self.ours <= 0 else f"{self.floor / self.ours:.0%}"
        values = ("" if v is None else quantity(v, self.unit) for v in (self.ours, self.twin, self.floor))
        ours, twin, floor = values
        return (self.name, ours, twin, ratio, floor, share)


@dataclass(frozen=True)
class Target:
    """A number that is held against a limit: `at_least` or `at_most`; without either it is only told.

    Attributes:
        name: what the number is.
        value: as measured.
        at_least: the lower limit.
        at_most: the upper limit.
        unit: printed behind the numbers.
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the number is within its limits."""
        return not (
            (self.at_least is not None and self.value < self.at_least)
            or (self.at_most is not None and self.value > self.at_most)
        )

    def __str__(self) -> str:
        named = (("at least", self.at_least), ("at most", self.at_most))
        limits = " and ".join(f"{words} {limit:g}" for words, limit in named if limit is not None)
        verdict = f" ({limits}): {'met' if self.met else 'MISSED'}" if limits else ""
        return f"{self.name}: {self.value:.4g}{self.unit}{verdict}"


Result = Row | Target


def quantity(value: float, unit: str) -> str:
    """Return seconds as s, ms or us, bytes as MB."""
    if unit == "B":
        return f"{value / 1e6:.2f} MB"
    scale, name = next((s, n) for s, n in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")) if value >= s or n == "us")
    return f"{value / scale:.3g} {name}"


def line(cells: Sequence[str]) -> str:
    """Return a row of the Markdown table, padded so that it can be read as it is."""
    first, *rest = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    )
    return f"| {' | '.join([first, *rest])} |"


def head() -> str:
    """Return the table's first two lines."""
    rule = ["-" * WIDTHS[0], *("-" * (width - 1) + ":" for width in WIDTHS[1:])]
    return f"{line(HEADERS)}\n| {' | '.join(rule)} |"


def markdown(header: Sequence[str], results: Sequence[Result]) -> str:
    """Return the whole report: where it was measured, the table, the targets."""
    rows = [line(r.cells) for r in results if isinstance(r, Row)]
    targets = [f"- {r}" for r in results if isinstance(r, Target)]
    return "\n".join([*(f"- {text}" for text in header), "", head(), *rows, "", *targets]) + "\n"

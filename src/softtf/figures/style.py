"""The style of all figures: colours that colour-blind readers can tell apart, each with its own marker and line.

matplotlib is imported here, by the charts of `softtf.report` and by `softtf.tracking`, only when something is drawn, so
that commands start fast. pyplot's state is neither read nor written.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softtf.errors import UserError, visible
from softtf.figures.mean import Mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito (2008)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)), (0, (5, 1, 1, 1, 1, 1)), "-")
MOST = len(COLOURS)
"""The most series of one panel; more could not be told apart."""
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.0
"""Widths, in inches, of a figure in one column and in two columns of a page."""
ENDINGS = (".png", ".pdf", ".svg")
DOTS = 160
"""Dots per inch of a PNG."""
LEAST = 6.0
"""The shortest range of an axis, in points: a difference of one point between seeds is noise."""
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a $ in the name of a class or a method is a $
    "svg.hashsalt": "softtf",  # the same numbers give the same file
}


def look(number: int) -> dict[str, Any]:
    """Return the colour, marker and line of series `number`."""
    return {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": LINES[number]}


def check_series(count: int, what: str) -> None:
    """Refuse more series than can be told apart.

    Raises:
        UserError: there are more than MOST.
    """
    if count > MOST:
        raise UserError(f"a figure shows at most {MOST} {what}, not {count}; name fewer")


@contextmanager
def styled() -> Iterator[None]:
    """Draw with these settings within the block."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> "tuple[Figure, Any]":
    """Return a figure of this size in inches and its axes, an array [rows, columns]; options: of `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def say_below(figure: "Figure", text: str) -> None:
    """Write a caption below the axes, wrapped to the figure's width."""
    width = int(figure.get_figwidth() * 20)
    lines = [line for part in visible(text, "\n").split("\n") for line in textwrap.wrap(part, width)]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=6.5, color="#404040")


def widen(axis: Any) -> None:
    """Make the y-axis cover at least `LEAST` points, so that noise does not look like a difference."""
    low, high = axis.get_ylim()
    if high - low < LEAST:
        middle = (low + high) / 2
        axis.set_ylim(middle - LEAST / 2, middle + LEAST / 2)


def lengths(deviations: Iterable[float | None]) -> list[float]:
    """Return the lengths of error bars; NaN, which is not drawn, without a deviation."""
    return [math.nan if deviation is None else deviation for deviation in deviations]


def line_or_level(
    axis: Any, x: Sequence[float | None], means: Sequence[Mean], line: dict[str, Any], label: str
) -> None:
    """Draw mean ACC over x with error bars; one mean without x as a level line with a band.

    Args:
        axis: where to.
        x: as many as means; all None, or none.
        means: without any, nothing is drawn.
        line: how (`look`).
        label: for the legend.
    """
    if not means:
        return
    if x[0] is not None:
        errors = lengths(mean.acc_std for mean in means)
        axis.errorbar(x, [mean.acc for mean in means], errors, **line, capsize=2, label=label)
        return
    (mean,) = means
    axis.axhline(mean.acc, color=line["color"], linestyle=line["linestyle"], label=label)
    if mean.acc_std:
        low, high = mean.acc - mean.acc_std, mean.acc + mean.acc_std
        axis.axhspan(low, high, color=line["color"], alpha=0.15, linewidth=0)


def legend_above(figure: "Figure", axes: Any, columns: int) -> None:
    """Put one legend, for what any of the axes shows, above all of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=3)


def check_ending(output: Path) -> None:
    """Refuse a file whose name does not end in a known format.

    Raises:
        UserError: it ends in none of ENDINGS.
    """
    if output.suffix.lower() not in ENDINGS:
        raise UserError(f"{output}: a figure's file ends in {', '.join(ENDINGS)}")


def picture(figure: "Figure", ending: str) -> bytes:
    """Return the content of a file with the figure; the same figure gives the same bytes."""
    dates = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    data = BytesIO()
    with styled():
        figure.savefig(data, format=ending[1:], dpi=DOTS, metadata=dates[ending])
    return data.getvalue()

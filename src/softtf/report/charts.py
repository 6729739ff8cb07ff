"""The charts of a page, drawn from numbers alone; no chart relies on colour alone."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from softtf.evaluation.calibration import Bin
from softtf.figures.style import LINES, MARKERS
from softtf.report.svg import INK, LINE, SERIES, draw

MOST_NUMBERED = 12  # rows of a heat map whose cells have room for a number
CORNERS = ((9, 5), (-9, 5), (9, -13), (-9, -13))  # around a point, for its number
PLOT = (260, 130)  # the size of a chart's axes, in 1/72 inch
CLEAR = 14.0  # between two numbers, so that they can be read
NAME_WIDTH = 56  # characters of a line of a legend


def heat_map(percent: NDArray[np.float64], across: str, down: str, name: str) -> str:
    """Draw [n, n] percentages as colours, with numbers where they fit; NaN is left empty."""
    count = len(percent)

    def paint(axes: Axes) -> None:
        axes.grid(False)
        shades: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 100, "interpolation": "none", "aspect": "auto"}
        axes.figure.colorbar(axes.imshow(np.ma.masked_invalid(percent), **shades), ax=axes, label="%", aspect=30)
        for i, t in np.argwhere(~np.isnan(percent)) if count <= MOST_NUMBERED else ():
            light = percent[i, t] > 60  # viridis is light there
            colour = "#000000" if light else "#ffffff"
            axes.text(t, i, f"{percent[i, t]:.0f}", ha="center", va="center", color=colour, fontsize=9)
        _count_from_one(axes, count)
        axes.set(xlabel=across, ylabel=down)

    return draw(paint, 3.4, name)


def _count_from_one(axes: Axes, count: int) -> None:
    places = range(0, count, max(1, -(-count // 12)))
    axes.set_xticks(list(places), [str(place + 1) for place in places])
    axes.set_yticks(list(places), [str(place + 1) for place in places])


def lines(series: Mapping[str, Sequence[float]], across: str, up: str, name: str) -> str:
    """Draw each series over the numbers from 1, each with its own marker and dash."""

    def paint(axes: Axes) -> None:
        for i, (title, values) in enumerate(series.items()):
            style: dict[str, Any] = {"color": _of(SERIES, i), "marker": _of(MARKERS, i), "linestyle": _of(LINES, i)}
            axes.plot(range(1, len(values) + 1), values, label=_wrapped(title), **style)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=across, ylabel=up)
        axes.set_ylim(bottom=0)
        _legend(axes)

    return draw(paint, _height(series), name)


def bars_and_marks(bars: Sequence[float], marks: Sequence[float] | None, titles: tuple[str, str], name: str) -> str:
    """Draw one bar per task and, if there is a ceiling, a mark at it; both in percent."""

    def paint(axes: Axes) -> None:
        places = range(1, len(bars) + 1)
        axes.bar(places, bars, color=SERIES[0], label=titles[0])
        if marks is not None:
            size = min(24.0, 260 / len(bars))
            axes.plot(places, marks, "_", color=SERIES[1], markersize=size, markeredgewidth=2.5, label=titles[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set(xlabel="task", ylabel="accuracy after the last task, %", ylim=(0, 100))
        _legend(axes)

    return draw(paint, 3.2, name)


def reliability_diagram(bins: Sequence[Bin | None], name: str) -> str:
    """Draw the accuracy of each bin of confidence against the diagonal, on which the two are equal."""

    def paint(axes: Axes) -> None:
        width = 100 / len(bins)
        axes.plot([0, 100], [0, 100], color=INK, linestyle=":", label="confidence equals accuracy")
        for place, found in enumerate(bins):
            if found is not None:
                axes.bar((place + 0.5) * width, found.accuracy, 0.9 * width, color=SERIES[0])
                axes.plot(found.confidence, found.accuracy, marker="o", color=INK)
        axes.set(xlabel="confidence, %", ylabel="accuracy, %", xlim=(0, 100), ylim=(0, 100))
        _legend(axes)

    return draw(paint, 3.2, name)


def points(places: Sequence[tuple[str, float, float]], across: str, up: str, name: str) -> str:
    """Draw points (x, y) with titles, each with its number beside it; x is logarithmic."""
    names = [f"{i + 1} {title}" for i, (title, *_) in enumerate(places)]

    def paint(axes: Axes) -> None:
        corners = _corners(places)
        for i, (_, x, y) in enumerate(places):
            style: dict[str, Any] = {"color": _of(SERIES, i), "marker": _of(MARKERS, i)}
            style |= {"linestyle": "none", "markersize": 7}
            axes.plot([x], [y], label=_wrapped(names[i]), **style)
            axes.annotate(str(i + 1), (x, y), xytext=corners[i], textcoords="offset points", ha="center")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(0.12)
        axes.set(xlabel=across, ylabel=up)
        _legend(axes)

    return draw(paint, _height(names), name)


def _corners(places: Sequence[tuple[str, float, float]]) -> list[tuple[int, int]]:
    """Return where the number of each point stands, in units of 1/72 inch from it: clear of others as far as can be."""
    xs, ys = np.log([x for _, x, _ in places]), np.array([y for *_, y in places])
    spots = np.stack([PLOT[0] * (xs - xs.min()) / (np.ptp(xs) or 1), PLOT[1] * (ys - ys.min()) / (np.ptp(ys) or 1)], 1)
    chosen: list[tuple[int, int]] = []
    for i, spot in enumerate(spots):
        numbers = spots[:i] + np.array(chosen).reshape(i, 2)
        others = np.delete(spots, i, 0)
        room = {corner: _room(spot + corner, others, numbers) for corner in CORNERS}
        chosen.append(max(CORNERS, key=room.__getitem__))  # the first of equal ones
    return chosen


def _room(at: NDArray[np.float64], points: NDArray[np.float64], numbers: NDArray[np.float64]) -> float:
    """Return the least distance to another number or, twice, to a point; what is clear counts the same."""
    away = [*(2 * np.hypot(*(points - at).T)), *np.hypot(*(numbers - at).T)]
    return min([CLEAR, *map(float, away)])


def stacked_bars(parts: Mapping[str, Sequence[float]], up: str, name: str) -> str:
    """Draw one bar per task with its parts on top of one another, each part with its own hatching."""

    def paint(axes: Axes) -> None:
        below = np.zeros(len(next(iter(parts.values()))))
        places = np.arange(1, len(below) + 1)
        for i, (title, values) in enumerate(parts.items()):
            hatch: dict[str, Any] = {"hatch": ("", "///", "..")[i], "edgecolor": LINE, "linewidth": 0.5}
            axes.bar(places, values, bottom=below, color=_of(SERIES, i), label=title, **hatch)
            below = below + np.asarray(values)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set(xlabel="task", ylabel=up)
        _legend(axes)

    return draw(paint, 3.0, name)


def _of(choices: Sequence[Any], i: int) -> Any:
    return choices[i % len(choices)]


def _wrapped(title: str) -> str:
    """Return a name for a legend on one to three lines: names that begin alike can be told apart."""
    return "\n".join(wrap(title, NAME_WIDTH, max_lines=3, placeholder=" …", subsequent_indent="   "))


def _height(titles: Iterable[str]) -> float:
    """Return the height of a chart with a line of its legend for each line of a name."""
    return 2.8 + 0.22 * sum(_wrapped(title).count("\n") + 1 for title in titles)


def _legend(axes: Axes) -> None:
    """Put a legend below the axes, where it hides nothing; two short names stand side by side."""
    names = axes.get_legend_handles_labels()[1]
    beside = len(names) == 2 and max(map(len, names)) < NAME_WIDTH // 2 - 4
    axes.figure.legend(loc="outside lower left", ncols=2 if beside else 1, fontsize=9.5)

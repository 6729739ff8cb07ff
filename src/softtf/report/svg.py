"""matplotlib figures as SVG that is part of a page: with its colours and font, without ids and addresses.

A figure is drawn in placeholder colours. They become CSS variables, which the page's dark mode changes.
"""

import io
import re
from collections.abc import Callable

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softtf.figures.style import COLOURS

INK, LINE = "#010203", "#040506"  # of text and axes, and of grids
SERIES = tuple(colour.lower() for colour in COLOURS[:-1])  # without black, which a dark page would hide
VARIABLES = {INK: "--ink", LINE: "--line", **{colour: f"--c{i}" for i, colour in enumerate(SERIES)}}
WIDTH = 4.7  # inches, of 72 units each: about a phone's width
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "softtf",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    **{f"{name}color": INK for name in ("text.", "axes.edge", "axes.label", "xtick.", "ytick.")},
}


def draw(paint: Callable[[Axes], object], height: float = 3.0, name: str = "chart") -> str:
    """Return what `paint` draws on axes as an SVG element for a page.

    Args:
        paint: draws on the axes that it gets.
        height: height of the figure, in inches.
        name: name of the chart, which makes its ids differ from those of other charts on the page.
    """
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure((WIDTH, height), layout="constrained")
        paint(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return in_page(text.getvalue())


def in_page(svg: str) -> str:
    """Turn an SVG file of matplotlib into an element of a page.

    Only what is inside tags is changed: text is what users wrote.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    return re.sub(r"<[^>]+>", lambda tag: _tag(tag[0], used), svg).strip()


def _tag(tag: str, used: set[str]) -> str:
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag).replace("xlink:href", "href")
    tag = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)
    if tag.startswith("<svg"):
        return re.sub(r' (width|height|version)="[^"]*"', "", tag).replace("<svg", '<svg aria-hidden="true"')
    return re.sub(r"#[0-9a-f]{6}\b", lambda c: f"var({VARIABLES[c[0]]})" if c[0] in VARIABLES else c[0], tag)

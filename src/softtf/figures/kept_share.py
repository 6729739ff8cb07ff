"""Accuracy against the kept share c of WSN and SoftNet, with Soft-TF's line (the paper's Figures 7b, 8, Table 11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softtf.errors import UserError
from softtf.figures.mean import Mean
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, check_alike, check_kind, layers_title, measured
from softtf.figures.style import TWO_COLUMNS, legend_above, line_or_level, look, new_figure, say_below, widen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"binary-mask": "WSN", "soft-net": "SoftNet", "soft-mask": "Soft-TF"}
COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """The accuracy of one method at one kept share, in percent; Soft-TF keeps all weights and has no share."""

    method: str
    kept: float | None
    policy: str
    mean: Mean


def numbers(runs: Sequence[RunResults], policy: Sequence[str] = ()) -> Numbers[Point]:
    """Return ACC and Forget for every method and kept share; runs that differ only in their seed are one point.

    Raises:
        UserError: a run has other adaptations, or another stream, backbone or set of masked layers than the first one;
            no run is of WSN or SoftNet; two runs would be one point; or they have no policy in common.
    """
    for run in runs:
        check_kind(run, tuple(KINDS), "runs of WSN or SoftNet, and perhaps of Soft-TF")
    if all(run.adapt.kind == "soft-mask" for run in runs):
        raise UserError("kept-share needs runs of WSN or SoftNet (--method dual-prompt+wsn, dual-prompt+softnet)")
    check_alike(runs, "set of masked layers", lambda run: f"{layers_title(run.adapt.layers)} {run.adapt.targets}")
    caption, found = measured(runs, policy, lambda run: (KINDS[run.adapt.kind], getattr(run.adapt, "keep", None)))
    rows = [Point(method, kept, title, mean) for (method, kept), title, mean in found]
    masked = f" Masks on {layers_title(runs[0].adapt.layers)}, {runs[0].adapt.targets}."
    return Numbers(rows, caption + masked)


def draw(found: Numbers[Point]) -> "Figure":
    """Return a figure with one panel per policy: ACC over c, one line per method, a level one for Soft-TF."""
    policies = list(dict.fromkeys(p.policy for p in found.rows))
    columns = min(COLUMNS, len(policies))
    rows = -(-len(policies) // columns)
    figure, axes = new_figure(min(TWO_COLUMNS, 3.2 * columns), 2.0 * rows + 0.8, rows, columns, sharex=True)
    for axis, policy in zip(axes.flat, policies, strict=False):
        for number, method in enumerate(KINDS.values()):
            points = [p for p in found.rows if (p.method, p.policy) == (method, policy)]
            points.sort(key=lambda p: p.kept or 0.0)
            line_or_level(axis, [p.kept for p in points], [p.mean for p in points], look(number), method)
        axis.set_title(policy)
        axis.set_ylabel("ACC (%)")
        axis.set_xlabel("kept share c (%)")
        widen(axis)
        axis.grid(axis="y", color="#E0E0E0", linewidth=0.5)
    for axis in axes.flat[len(policies) :]:
        axis.set_visible(False)
    legend_above(figure, axes[0][0], 3)
    say_below(figure, found.caption + " Bars and band: standard deviation over seeds.")
    return figure

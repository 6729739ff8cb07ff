"""Accuracy by the set of masked layers (the paper's Figure 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softtf.figures.mean import Mean
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, check_kind, layers_title, measured
from softtf.figures.style import ONE_COLUMN, TWO_COLUMNS, lengths, look, new_figure, say_below, widen
from softtf.recipes.methods import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE = "no masks"


@dataclass(frozen=True)
class Point:
    """The accuracy of one set of layers under one policy."""

    prompts: str
    layers: str
    policy: str
    mean: Mean


def numbers(runs: Sequence[RunResults], policy: Sequence[str] = ()) -> Numbers[Point]:
    """Return ACC and Forget for every set of layers; runs that differ only in their seed are one point.

    Raises:
        UserError: a run has other adaptations than soft masks, or another stream or backbone than the first one; two
            runs would be one point; or they have no policy in common.
    """
    for run in runs:
        check_kind(run, ("none", "soft-mask"), "runs with soft masks, or without any adaptation")
    caption, found = measured(runs, policy, lambda run: (_prompts(run), _layers(run, runs)))
    return Numbers([Point(prompts, layers, title, mean) for (prompts, layers), title, mean in found], caption)


def _prompts(run: RunResults) -> str:
    """Return the title of the learner that the masks are added to, with PGP if it has it."""
    learner = run.config.learner
    return title_of(learner.kind) + " + PGP" * (getattr(learner, "projection", None) is not None)


def _layers(run: RunResults, runs: Sequence[RunResults]) -> str:
    """Return the title of the set of layers, with the masked kinds of weights if the runs differ in them."""
    if run.adapt is None:
        return NONE
    targets = {other.adapt.targets for other in runs if other.adapt}
    return layers_title(run.adapt.layers) + f" {run.adapt.targets}" * (len(targets) > 1)


def draw(found: Numbers[Point]) -> "Figure":
    """Return a figure with a row per policy and a panel per kind of prompts: ACC by set of layers, as dots."""
    columns, rows = (list(dict.fromkeys(getattr(p, name) for p in found.rows)) for name in ("prompts", "policy"))
    width = ONE_COLUMN if len(columns) == 1 else TWO_COLUMNS
    figure, axes = new_figure(width, 1.6 * len(rows) + 1.0, len(rows), len(columns), sharey="row", sharex="col")
    for number, policy in enumerate(rows):
        for axis, prompts in zip(axes[number], columns, strict=True):
            points = [p for p in found.rows if (p.prompts, p.policy) == (prompts, policy)]
            _dots(axis, sorted(points, key=lambda p: _order(p.layers)), look(number))
            axis.set_title(f"{prompts}: {policy}")
        widen(axes[number][0])
        axes[number][0].set_ylabel("ACC (%)")
    for axis in axes[-1]:
        axis.set_xlabel("masked layers")
    say_below(figure, found.caption + " Bars: standard deviation over seeds.")
    return figure


def _dots(axis: Any, points: Sequence[Point], line: dict[str, Any]) -> None:
    errors = lengths(p.mean.acc_std for p in points)
    axis.errorbar(range(len(points)), [p.mean.acc for p in points], errors, capsize=3, **line | {"linestyle": "none"})
    axis.set_xticks(range(len(points)), [p.layers.replace("] ", "]\n") for p in points])
    axis.set_xlim(-0.5, len(points) - 0.5)
    axis.grid(axis="y", color="#E0E0E0", linewidth=0.5)


def _order(layers: str) -> tuple[bool, int, str]:
    first = layers.removeprefix("L[").partition("]")[0].replace("-", ",").partition(",")[0]
    return layers != NONE, int(first) if first.isdecimal() else 0, layers

"""A radar chart of methods over streams (the paper's Figure 7a)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softtf.errors import UserError
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, about, grouped, headline, mean_of
from softtf.figures.style import ONE_COLUMN, check_series, legend_above, look, new_figure, say_below
from softtf.inference.policy import parse_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """The accuracy of one method on one stream, in percent: mean and sample standard deviation over seeds."""

    method: str
    stream: str
    policy: str
    seeds: str
    acc: float
    acc_std: float | None


def numbers(runs: Sequence[RunResults], policy: Sequence[str] = ()) -> Numbers[Point]:
    """Return ACC of every method on every stream; runs that differ only in their seed are one point.

    Args:
        runs: every method on every stream.
        policy: one policy for all; if empty, the first per-sample policy of each run (`headline`).

    Raises:
        UserError: there are fewer than three streams, a method lacks one of them, two runs would be one point, or
            several policies are named.
    """
    if len(policy) > 1:
        raise UserError(f"radar shows one policy, not {len(policy)}; draw one figure for each")
    streams = list(dict.fromkeys(run.config.recipe for run in runs))
    if len(streams) < 3:
        raise UserError(f"radar needs runs on at least three streams, not {len(streams)} ({', '.join(streams)})")
    methods = grouped(runs, lambda run: run.method)
    check_series(len(methods), "methods")
    rows = []
    for method, of_method in methods.items():
        on = grouped(of_method, lambda run: run.config.recipe)
        for stream in streams:
            if stream not in on:
                raise UserError(f"no run of {method} is on {stream}; name one, or leave the stream out")
            code = parse_policy(policy[0]).code if policy else headline(on[stream][0])
            mean = mean_of(on[stream], code)
            title = on[stream][0].score(code).title
            rows.append(Point(method, stream, title, mean.seeds, mean.acc, mean.acc_std))
    return Numbers(rows, about(runs, _policies(rows)))


def _policies(rows: Sequence[Point]) -> str:
    """Return the policies for a caption: one for all methods, or each method's."""
    titles = {
        method: dict.fromkeys(r.policy for r in rows if r.method == method) for method in (r.method for r in rows)
    }
    if len({r.policy for r in rows}) == 1:
        return rows[0].policy
    return "; ".join(f"{method}: {', '.join(found)}" for method, found in titles.items())


def draw(found: Numbers[Point]) -> "Figure":
    """Return a radar chart: a spoke for each stream, a closed line for each method, ACC from the centre outwards."""
    streams = list(dict.fromkeys(p.stream for p in found.rows))
    angles = [2 * math.pi * i / len(streams) for i in range(len(streams))]
    figure, axes = new_figure(ONE_COLUMN, 4.0, subplot_kw={"projection": "polar"})
    axis = axes[0][0]
    for number, method in enumerate(dict.fromkeys(p.method for p in found.rows)):
        by_stream = {p.stream: p.acc for p in found.rows if p.method == method}
        values = [by_stream[stream] for stream in streams]
        axis.plot([*angles, angles[0]], [*values, values[0]], **look(number), label=method)
    axis.set_theta_zero_location("N")
    axis.set_theta_direction(-1)
    for label, angle in zip(axis.set_xticks(angles, streams), angles, strict=True):
        label.label1.set_horizontalalignment(
            "center" if math.sin(angle) ** 2 < 0.01 else "left" if angle < math.pi else "right"
        )
    axis.set_ylim(bottom=0)
    axis.set_rlabel_position(180 / len(streams))
    axis.tick_params(axis="y", labelsize=6, labelcolor="#404040")
    axis.grid(color="#D0D0D0", linewidth=0.5)
    axis.set_title("ACC (%)", pad=14)
    legend_above(figure, axis, 2)
    say_below(figure, found.caption)
    return figure

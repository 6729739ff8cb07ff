"""Training curves: each term of the loss over the epochs of a run, and ACC after each task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softtf.errors import UserError
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, about, labels_of, policies_of
from softtf.figures.style import TWO_COLUMNS, check_series, legend_above, look, new_figure, say_below
from softtf.files.plain_json import NUMBER, fits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACC = "ACC"
COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """One value of a curve.

    run: its name in the legend. quantity: a term of the loss, or ACC. policy: that of ACC; otherwise empty. task: from
    1; for ACC, the task after which it was measured. epoch: from 1; None for ACC.
    """

    run: str
    quantity: str
    policy: str
    task: int
    epoch: int | None
    value: float


def numbers(runs: Sequence[RunResults], policy: Sequence[str] = ()) -> Numbers[Point]:
    """Return the losses of every epoch, and ACC (over the tasks seen) after every task.

    Raises:
        UserError: a run logged no losses, there are too many runs to tell apart, or they have no policy in common.
    """
    check_series(len(runs), "runs")
    titles = policies_of(runs, policy)
    rows: list[Point] = []
    for label, run in zip(labels_of(runs), runs, strict=True):
        losses = _losses(run, label)
        if not losses:
            raise UserError(f"{run.path} has no losses in its log, events.jsonl; name another run")
        rows += losses
        for code, title in titles.items():
            rows += _accuracy(run, label, code, title)
    return Numbers(rows, about(runs, "; ".join(titles.values())))


def _losses(run: RunResults, label: str) -> list[Point]:
    epochs = [e for e in run.folder.logged() if e["event"] == "epoch" and fits(e.get("losses"), {str: NUMBER})]
    return [
        Point(label, name, "", e["task"] + 1, e["epoch"], float(value))
        for e in epochs
        for name, value in e["losses"].items()
    ]


def _accuracy(run: RunResults, label: str, code: str, title: str) -> list[Point]:
    score = run.score(code)
    if score.matrix is None:
        raise UserError(
            f"{run.path} was scored by {code!r} after its last task only; `softtf evaluate` it without --last"
        )
    a = score.matrix.a
    return [Point(label, ACC, title, t + 1, None, float(a[: t + 1, t].mean())) for t in range(len(a))]


def draw(found: Numbers[Point]) -> "Figure":
    """Return a figure with one panel per term of the loss over all epochs, and one for ACC over tasks."""
    losses = list(dict.fromkeys(p.quantity for p in found.rows if p.quantity != ACC))
    panels = [*losses, ACC]
    lines = -(-len(panels) // COLUMNS)
    figure, axes = new_figure(TWO_COLUMNS, 2.0 * lines + 0.6, lines, min(COLUMNS, len(panels)))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, quantity in zip(axes.flat, panels, strict=False):
        axis.set_ylim(*_acc_panel(axis, found.rows) if quantity == ACC else _loss_panel(axis, found.rows, quantity))
    if len({p.run for p in found.rows}) > 1:
        legend_above(figure, axes[0][0], 3)
    say_below(figure, found.caption)
    return figure


def _loss_panel(axis: Any, rows: Sequence[Point], quantity: str) -> tuple[float, None]:
    """Draw a term of the loss over the epochs of all tasks; a new line starts at each task."""
    for number, run in enumerate(dict.fromkeys(p.run for p in rows)):
        points = [p for p in rows if p.run == run and p.quantity == quantity]
        tasks = list(dict.fromkeys(p.task for p in points))
        start = 0
        for task in tasks:
            values = [p.value for p in points if p.task == task]
            label = run if task == tasks[0] else None
            axis.plot(
                range(start + 1, start + len(values) + 1), values, **look(number) | {"markersize": 2}, label=label
            )
            start += len(values)
    axis.set_title(f"in training: {quantity.replace('_', ' ')}")
    axis.set_xlabel("epoch, all tasks in order")
    return 0.0, None


def _acc_panel(axis: Any, rows: Sequence[Point]) -> tuple[float, float]:
    """Draw ACC over tasks: a colour and a marker per run, a line per policy with its name at the end."""
    runs = list(dict.fromkeys(p.run for p in rows))
    policies = list(dict.fromkeys(p.policy for p in rows if p.quantity == ACC))
    for number, run in enumerate(runs):
        for style, policy in enumerate(policies):
            points = [p for p in rows if (p.run, p.quantity, p.policy) == (run, ACC, policy)]
            line = look(number) | {"linestyle": look(style)["linestyle"], "markersize": 3}
            axis.plot([p.task for p in points], [p.value for p in points], **line)
    for style, policy in enumerate(policies):
        axis.plot([], [], color="#404040", linestyle=look(style)["linestyle"], label=policy)
    axis.legend(loc="upper right", handlelength=3)
    axis.set_title("ACC over the tasks seen (%)")
    axis.set_xlabel("after task")
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return 0.0, 118.0

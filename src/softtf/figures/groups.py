"""Accuracy against the number of samples of one task that pool their evidence, with one learner.

The paper has no such figure: its accuracies are measured with 24 samples, and this one shows what that adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softtf.errors import UserError
from softtf.figures.mean import Mean
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, about, check_alike, mean_of, policies_of
from softtf.figures.style import TWO_COLUMNS, check_series, line_or_level, look, new_figure, say_below
from softtf.inference import INFERENCES
from softtf.inference.policy import parse_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ANSWERS = {
    "own": "answer: a class of the inferred task",
    "any": "answer: any class seen so far",
    "joint": "answer: joint over the likely tasks",
}


@dataclass(frozen=True)
class Point:
    """The accuracy under one policy.

    samples: how many samples of one task are evidence for each answer. None: the task is given, or none is inferred.
    """

    inference: str
    answer: str
    samples: int | None
    policy: str
    mean: Mean


def numbers(runs: Sequence[RunResults], policy: Sequence[str] = ()) -> Numbers[Point]:
    """Return ACC and Forget under each policy; runs differ in their seed alone.

    Raises:
        UserError: streams, backbones or methods differ; two runs have one seed; test samples were shuffled across
            tasks; no policy is common to them, or none that is pools evidence.
    """
    for what, of in (
        ("stream", lambda run: run.config.recipe),
        ("backbone", lambda run: run.folder.weights),
        ("method", lambda run: run.method),
    ):
        check_alike(runs, what, of)
    for run in runs:
        if run.config.evaluate.shuffle:
            raise UserError(f"{run.path} was scored on shuffled samples; groups are of samples of one task")
    rows = [_point(runs, code, title) for code, title in policies_of(runs, policy).items()]
    if not any((row.samples or 1) > 1 for row in rows):
        raise UserError(
            f"{runs[0].path} was scored by no policy that pools evidence; `softtf evaluate {runs[0].path} --policy"
            " prompt-id:own prompt-id:3-shot:own prompt-id:batch24:own oracle` scores it by some"
        )
    return Numbers(sorted(rows, key=lambda row: row.samples or 0), f"{runs[0].method}. {about(runs)}")


def _point(runs: Sequence[RunResults], code: str, title: str) -> Point:
    policy = parse_policy(code)
    kind = INFERENCES[policy.inference]
    name = kind.title + ", by vote" * policy.pooling.vote
    samples = (policy.pooling.shots or policy.pooling.group) if kind.pools else None
    return Point(name, policy.answer, samples, title, mean_of(runs, code))


def draw(found: Numbers[Point]) -> "Figure":
    """Return a panel for each kind of answer: ACC over samples, a line for each inference, level ones without any."""
    answers = [answer for answer in ANSWERS if any(p.answer == answer and p.samples for p in found.rows)]
    names = list(dict.fromkeys(p.inference for p in found.rows))
    check_series(len(names), "task inferences")
    figure, axes = new_figure(min(TWO_COLUMNS, 3.6 * len(answers)), 3.4, 1, len(answers), sharey=True)
    for axis, answer in zip(axes[0], answers, strict=True):
        for number, name in enumerate(names):
            points = [p for p in found.rows if p.inference == name and (p.answer == answer or p.samples is None)]
            line_or_level(axis, [p.samples for p in points], [p.mean for p in points], look(number), name)
        axis.set_xscale("log")
        ticks = sorted({p.samples for p in found.rows if p.samples})
        axis.set_xticks(ticks, list(map(str, ticks)))
        axis.set_xticks([], minor=True)
        axis.set(xlabel="samples of one task that pool their evidence", title=ANSWERS[answer])
        axis.grid(axis="y", color="#E0E0E0", linewidth=0.5)
    axes[0][0].set(ylabel="ACC (%)", ylim=(0, 100))
    handles = {h.get_label(): h for axis in axes[0] for h in axis.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles), handlelength=3)
    say_below(figure, found.caption + " Bars and bands: standard deviation over seeds.")
    return figure

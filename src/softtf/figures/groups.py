"""Accuracy against the number of samples of one task that pool their evidence.

The paper has no such figure: its accuracies are measured with 24 samples, and this one shows what that adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softtf.errors import UserError
from softtf.figures.mean import Mean
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, about, check_alike, grouped, mean_of, policies_of
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

    method: str
    inference: str
    answer: str
    samples: int | None
    policy: str
    mean: Mean


def numbers(runs: Sequence[RunResults], policy: Sequence[str] = ()) -> Numbers[Point]:
    """Return ACC and Forget of each method under each policy that scored all its runs; they differ in their seed alone.

    Raises:
        UserError: streams or backbones differ; two runs of a method have one seed; test samples were shuffled across
            tasks; a method has no policy, or none pools evidence; a wanted policy scored no method.
    """
    check_alike(runs, "stream", lambda run: run.config.recipe)
    check_alike(runs, "backbone", lambda run: run.folder.weights)
    for run in runs:
        if run.config.evaluate.shuffle:
            raise UserError(f"{run.path} was scored on shuffled samples; groups are of samples of one task")
    rows, wanted = [], [parse_policy(text).code for text in policy]
    for code in wanted:
        if not any(code in run.scores for run in runs):
            runs[0].score(code)  # tells how to score by it
    for same in grouped(runs, lambda run: run.method).values():
        scored = [code for code in wanted if code in same[0].scores] or wanted[:1]  # which tells how to score by it
        rows += [_point(same, code, title) for code, title in policies_of(same, scored).items()]
    if not any((row.samples or 1) > 1 for row in rows):
        raise UserError(
            f"{runs[0].path} was scored by no policy that pools evidence; `softtf evaluate {runs[0].path} --policy"
            " prompt-id:own prompt-id:3-shot:own prompt-id:batch24:own oracle` scores it by some"
        )
    methods = dict.fromkeys(run.method for run in runs)
    return Numbers(sorted(rows, key=lambda row: row.samples or 0), f"{', '.join(methods)}. {about(runs)}")


def _point(runs: Sequence[RunResults], code: str, title: str) -> Point:
    policy = parse_policy(code)
    kind = INFERENCES[policy.inference]
    name = kind.title + ", by vote" * policy.pooling.vote
    samples = (policy.pooling.shots or policy.pooling.group) if kind.pools else None
    return Point(runs[0].method, name, policy.answer, samples, title, mean_of(runs, code))


def draw(found: Numbers[Point]) -> "Figure":
    """Return a panel for each kind of answer: ACC over samples, a line for each inference, level ones without any."""
    answers = [answer for answer in ANSWERS if any(p.answer == answer and p.samples for p in found.rows)]
    several = len({p.method for p in found.rows}) > 1
    names = {(p.method, p.inference): f"{p.method}: {p.inference}" if several else p.inference for p in found.rows}
    check_series(len(names), "task inferences")
    figure, axes = new_figure(min(TWO_COLUMNS, 3.6 * len(answers)), 3.4, 1, len(answers), sharey=True)
    for axis, answer in zip(axes[0], answers, strict=True):
        for number, (line, name) in enumerate(names.items()):
            of_line = [p for p in found.rows if (p.method, p.inference) == line]
            points = [p for p in of_line if p.answer == answer or p.samples is None]
            line_or_level(axis, [p.samples for p in points], [p.mean for p in points], look(number), name)
        axis.set_xscale("log")
        ticks = sorted({p.samples for p in found.rows if p.samples})
        axis.set_xticks(ticks, list(map(str, ticks)))
        axis.set_xticks([], minor=True)
        axis.set(xlabel="samples of one task that pool their evidence", title=ANSWERS[answer])
        axis.grid(axis="y", color="#E0E0E0", linewidth=0.5)
    axes[0][0].set(ylabel="ACC (%)", ylim=(0, 100))
    handles = {h.get_label(): h for axis in axes[0] for h in axis.get_legend_handles_labels()[0]}
    figure.legend(
        handles.values(),
        handles,
        loc="outside upper center",
        ncols=2 if several else min(len(handles), 4),
        handlelength=3,
    )
    say_below(figure, found.caption + " Bars and bands: standard deviation over seeds.")
    return figure

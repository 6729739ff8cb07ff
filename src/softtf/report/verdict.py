"""What a reader of several runs asks first: who is ahead under which policy, by how much, and where each fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import stdev

import numpy as np

from softtf.errors import UserError, visible
from softtf.evaluation.evaluate import Samples
from softtf.report.blocks import Grid
from softtf.report.comparison import Group, over_seeds
from softtf.report.confusion import confused_classes, task_confusion


@dataclass(frozen=True)
class Ranking:
    """Rivals: the groups on one stream whose answers rest on the same evidence.

    Attributes:
        groups: each method under its best policy of this evidence, the highest ACC first.
    """

    groups: tuple[Group, ...]

    @property
    def first(self) -> Group:
        """The group that is ahead."""
        return self.groups[0]

    def behind(self, group: Group) -> str:
        """Return the points of ACC that a group lacks; with several seeds of both, ± their standard error."""
        if group is self.first:
            return "first" if len(self.groups) > 1 else "no rival"
        found = [[value for value in one.values["acc"] if value is not None] for one in (self.first, group)]
        text = f"{group.acc - self.first.acc:.1f}".replace("-", "−")
        if min(map(len, found)) < 2:
            return text
        return f"{text} ± {sqrt(sum(stdev(values) ** 2 / len(values) for values in found)):.1f}"

    def __str__(self) -> str:
        """Return the order as a line: the first with its ACC, and how far each other one is behind."""
        points = [f"{over_seeds(self.first.values['acc'])} %", *map(self.behind, self.groups[1:])]
        said = [
            f"{group.method} {text}" + ("" if group.is_oracle else f" ({group.policy})")
            for group, text in zip(self.groups, points, strict=True)
        ]
        return f"{self.first.evidence}, {self.first.stream}: {', '.join(said)}"


def rankings(groups: Sequence[Group]) -> list[Ranking]:
    """Return the rivals of each stream and evidence: each sample alone first, the task given last."""
    found: dict[tuple[str, str], dict[str, Group]] = {}
    for group in sorted(groups, key=lambda one: (one.is_oracle, not one.is_per_sample)):
        best = found.setdefault((group.data, group.evidence), {})
        if group.method not in best or group.acc > best[group.method].acc:
            best[group.method] = group
    return [Ranking(tuple(sorted(best.values(), key=lambda one: -one.acc))) for best in found.values()]


def leaders(found: Sequence[Ranking]) -> Grid:
    """Return the rivals as a table; the first of several is marked."""
    rows: list[list[str]] = []
    marked: set[tuple[int, int]] = set()
    for ranking in found:
        if len(ranking.groups) > 1:
            marked.add((len(rows), 0))
        for group in ranking.groups:
            points = [over_seeds(group.values["acc"]), ranking.behind(group)]
            rows.append([visible(group.method), visible(group.policy), *points, group.evidence, visible(group.stream)])
    title = (
        "Who is ahead: each method by its best policy of each kind of evidence, chosen by these results. With several"
        " seeds, ± of the difference is its standard error; one seed cannot tell a small difference from chance"
    )
    headers = ["Method", "Policy", "ACC %", "To the first, points", "An answer rests on", "Stream"]
    streams = {row[-1] for row in rows}
    if len(streams) == 1:
        title = f"{title}; {streams.pop()}"
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    return Grid(title, headers, rows, 2, False, frozenset(marked))


def failures(found: Sequence[Ranking]) -> Grid | None:
    """Return where each method fails when each sample is answered alone; None if no run answered so."""
    rows = [_failure(group) for ranking in found if ranking.first.is_per_sample for group in ranking.groups]
    title = (
        "Where each method fails, each sample alone, by the policy above. Confusions are of its first run. A dash: it"
        " has no file of answers, or no score with the task given"
    )
    headers = ["Method", "Weakest task", "Most of it taken for", "Classes confused most"]
    headers += ["Accuracy on the weakest task %", "ACC with the task given %", "Forget %"]
    return Grid(title, headers, rows, 4) if rows else None


def _failure(group: Group) -> list[str]:
    run = group.runs[0]
    lasts = [one.result(group.policy).matrix.a[:, -1] for one in group.runs]
    weakest = int(np.mean(lasts, 0).argmin())
    given = [None if one.oracle is None else one.oracle.matrix.acc for one in group.runs]
    try:
        samples = run.samples(run.result(group.policy))
    except UserError:  # the run's own section says what is wrong with them
        samples = None
    task, pair = ("–", "–") if samples is None else _confused(group, samples, weakest)
    numbers = [tuple(float(last[weakest]) for last in lasts), tuple(given), group.values["forget"]]
    return [*map(visible, (group.method, run.task_name(weakest), task, pair)), *map(over_seeds, numbers)]


def _confused(group: Group, samples: Samples, weakest: int) -> tuple[str, str]:
    """Return the task that most of the weakest is taken for, and the two classes that are confused most."""
    run = group.runs[0]
    counts = task_confusion(samples, run.evaluated)[weakest]
    total = counts.sum()
    counts[weakest] = 0
    other = int(counts.argmax())
    task = f"task {run.task_name(other)}: {100 * counts[other] / total:.0f} %" if counts[other] else "none"
    pairs = confused_classes(samples, 1)
    if not pairs:
        return task, "none"
    label, answer = (str(run.classes.labels[number]) for number in (pairs[0].label, pairs[0].answer))
    share = 100 * len(pairs[0].samples) / int((samples.label == pairs[0].label).sum())
    return task, f"{label} → {answer}: {share:.0f} %"

"""Who is ahead under which policy, by how much, and where each method fails: counted anew from the runs' files."""

from collections import Counter
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import stdev

import pytest

from softtf.report.comparison import Group, groups_of
from softtf.report.found import read_run
from softtf.report.verdict import failures, leaders, rankings


@pytest.fixture(scope="module")
def groups(seeds: Path) -> list[Group]:
    return groups_of([read_run(seeds / name) for name in ("seed-0", "seed-1", "longer")])


def test_each_evidence_has_its_order(groups: list[Group]) -> None:
    table = leaders(rankings(groups))
    evidence = [row[-1] for row in table.rows]  # all are of one stream
    assert evidence == ["each sample alone"] * 2 + ["the task given"] * 2
    for first in (0, 2):
        top, other = table.rows[first : first + 2]
        rivals = [group for group in groups if group.evidence == top[-1]]
        best = max(rivals, key=lambda group: group.acc)
        assert top[:2] == [best.method, best.policy] and top[3] == "first" and (first, 0) in table.marked
        assert float(other[3].replace("−", "-")) <= 0


def test_a_difference_of_several_seeds_has_its_standard_error(groups: list[Group]) -> None:
    mine = next(group for group in groups if len(group.runs) == 2 and group.is_oracle)
    values = (90.0, 96.0)
    other = replace(mine, about="another", values={**mine.values, "acc": values})
    (ranking,) = rankings([mine, other])
    error = sqrt(stdev(values) ** 2 / 2 + stdev(mine.values["acc"]) ** 2 / 2)  # type: ignore[type-var]
    assert ranking.behind(mine) == f"−{93 - mine.acc:.1f} ± {error:.1f}"
    named = (
        f"{mine.evidence}, {mine.stream}: {other.method} 93.0 ± 4.2 %, {mine.method} −{93 - mine.acc:.1f} ± {error:.1f}"
    )
    assert str(ranking) == named
    assert ranking.behind(ranking.first) == "first" and rankings([mine])[0].behind(mine) == "no rival"


def test_failures_are_those_of_the_files(groups: list[Group]) -> None:
    table = failures(rankings(groups))
    assert table is not None and len(table.rows) == 2
    for row, group in zip(table.rows, rankings(groups)[0].groups, strict=True):
        run = group.runs[0]
        samples = run.samples(run.result(group.policy))
        assert samples is not None
        lasts = [r.result(group.policy).matrix.a[:, -1].tolist() for r in group.runs]
        sums = [sum(column) for column in zip(*lasts, strict=True)]
        weakest = sums.index(min(sums))
        taken = Counter(
            task for of, task in zip(samples.of_task.tolist(), samples.task.tolist(), strict=True) if of == weakest
        )
        share = 100 * max(count for task, count in taken.items() if task != weakest) / sum(taken.values())
        assert row[1] == run.task_name(weakest) and row[2].endswith(f": {share:.0f} %")
        wrong = Counter(
            (label, answer)
            for label, answer in zip(samples.label.tolist(), samples.answer.tolist(), strict=True)
            if label != answer
        )
        label, answer = min(wrong, key=lambda pair: (-wrong[pair], pair))
        assert row[3].startswith(f"{run.classes.labels[label]} → {run.classes.labels[answer]}: ")

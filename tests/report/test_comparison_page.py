"""The comparison of runs: what is marked as best, and what is on the chart of costs."""

from dataclasses import replace
from pathlib import Path

import pytest

from softtf.report.comparison import Group, groups_of
from softtf.report.comparison_page import _table, cost_chart
from softtf.report.found import read_run
from softtf.report.verdict import rankings


def known(run: Path) -> dict[str, Group]:
    """A group for each way to pool evidence, of which the one that shares it is highest."""
    group = next(one for one in groups_of([read_run(run)]) if one.is_per_sample)

    def with_acc(policy: str, acc: float, per_sample: bool = False, oracle: bool = False) -> Group:
        values = {**group.values, "acc": (acc,)}
        evidence = "alone" if per_sample else policy
        return replace(
            group, policy=policy, values=values, is_per_sample=per_sample, is_oracle=oracle, evidence=evidence
        )

    return {
        "shared": with_acc("same-task batch(24)", 90.0),
        "low": with_acc("per-sample", 30.0, per_sample=True),
        "given": with_acc("oracle", 95.0, oracle=True),
        "high": with_acc("another, per-sample", 40.0, per_sample=True),
    }


@pytest.mark.slow
def test_evidence_that_samples_share_is_never_marked_as_best(run: Path) -> None:
    groups = list(known(run).values())
    groups.append(replace(groups[1], about="of another", policy="per-sample of another"))
    table = _table(groups, rankings(groups))
    alone = ["another, per-sample", "per-sample", "per-sample of another"]
    assert [row[1] for row in table.rows] == [*alone, "same-task batch(24)", "oracle"]
    assert table.marked == {(0, table.headers.index("ACC %"))}


def test_only_runs_on_the_same_data_are_rivals(run: Path) -> None:
    high, low = (known(run)[name] for name in ("high", "low"))
    (first,) = high.runs
    stream = replace(first.config.stream, train_per_class=1)
    other = (replace(first, config=replace(first.config, stream=stream)),)
    groups = [high, replace(low, about="less data", runs=other)]
    table = _table(groups, rankings(groups))
    assert not table.marked


def test_costs_are_of_policies_that_answer_each_sample_alone(run: Path) -> None:
    numbers = cost_chart(list(known(run).values())).numbers  # type: ignore[attr-defined]
    assert sorted(row[2] for row in numbers.rows) == ["30.00", "40.00"]


def test_a_chart_that_leaves_runs_out_says_so_and_its_table_does_not(run: Path) -> None:
    high = known(run)["high"]
    for count in (12, 13):
        chart = cost_chart([replace(high, about=str(i)) for i in range(count)])
        assert len(chart.numbers.rows) == count  # type: ignore[attr-defined]
        assert ("the first 12 of 13" in chart.caption) == (count == 13)  # type: ignore[attr-defined]


def test_policies_say_whether_each_sample_is_answered_alone(run: Path) -> None:
    found = {policy.code: (policy.is_per_sample, policy.is_oracle) for policy in read_run(run).policies}
    assert found.pop("oracle") == (False, True)
    assert set(found.values()) == {(True, False)}

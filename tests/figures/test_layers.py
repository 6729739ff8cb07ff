import json
from statistics import mean, stdev

import pytest

from figures import drawn, table
from figures.conftest import Make, Renamed
from softtf.errors import UserError
from softtf.figures import numbers_of


def test_points_are_the_means_of_the_summaries(made: Make) -> None:
    seeds = [made(), made("dual-prompt+soft-tf", "--seed", 1)]
    other = made("dual-prompt+soft-tf", "--learner.adapt.layers", "6")
    plain = made("dual-prompt")
    found = numbers_of("layers", [*seeds, other, plain])
    rows = {(row["layers"], row["policy"]): row for row in table(found)}
    summaries = {run: json.loads((run / "summary.json").read_text())["policies"] for run in [*seeds, other, plain]}
    assert len(rows) == 3 * len(summaries[plain])
    for code, policy in summaries[plain].items():
        row = rows["L[5,6]", policy["title"]]
        acc = [summaries[run][code]["acc"] for run in seeds]
        assert float(row["acc"]) == pytest.approx(mean(acc)) and float(row["acc_std"]) == pytest.approx(stdev(acc))
        assert row["seeds"] == "0 1"
        for name, run in (("L[6]", other), ("no masks", plain)):
            row = rows[name, policy["title"]]
            assert float(row["acc"]) == pytest.approx(summaries[run][code]["acc"]) and row["acc_std"] == ""
            assert float(row["forget"]) == pytest.approx(summaries[run][code]["forget"])
    figure = drawn("layers", found)
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["no masks", "L[5,6]", "L[6]"]
    assert "quickstart" in found.caption and "seed: 0, 1" in found.caption and "SHA-256" in found.caption


def test_masked_kinds_of_weights_are_told_where_they_differ(made: Make) -> None:
    runs = [made(), made("dual-prompt+soft-tf", "--learner.adapt.targets", "qkv")]
    assert {row["layers"] for row in table(numbers_of("layers", runs))} == {"L[5,6] w/o FF", "L[5,6] qkv"}


def test_other_kinds_of_runs_are_refused(made: Make) -> None:
    with pytest.raises(UserError, match="has binary-mask instead; this figure needs runs with soft masks"):
        numbers_of("layers", [made(), made("dual-prompt+wsn")])
    with pytest.raises(UserError, match="both DualPrompt \\+ Soft-TF with seed 0"):
        numbers_of("layers", [made(), made("dual-prompt+soft-tf", "--train.epochs", 2)])


def test_another_stream_is_refused(made: Make, renamed: Renamed) -> None:
    with pytest.raises(UserError, match="compares runs of one stream, but .* has quickstart and .* other"):
        numbers_of("layers", [made(), renamed(made(), "other")])


def test_a_policy_that_a_run_was_not_scored_by_is_refused(made: Make) -> None:
    with pytest.raises(UserError, match="was not scored by 'gradient-id:batch3', only by .*softtf evaluate"):
        numbers_of("layers", [made()], policy=["gradient-id:batch3"])

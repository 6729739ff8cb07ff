import json
from statistics import mean, stdev

import pytest

from cli import call
from figures import drawn, table
from figures.conftest import Make, Renamed
from softtf.errors import UserError
from softtf.figures import numbers_of
from softtf.inference.policy import parse_policy

POLICIES = ("prompt-id:own", "prompt-id:3-shot:own", "prompt-id:batch24:own", "prompt-id:vote24:own", "oracle")


def test_points_are_the_means_of_the_summaries_over_the_samples_that_are_evidence(made: Make) -> None:
    runs = [made("dual-prompt+soft-tf", "--policy", *POLICIES, "--seed", seed) for seed in (0, 1)]
    found = numbers_of("groups", runs)
    rows = {(row["inference"], row["samples"]): row for row in table(found)}
    summaries = [json.loads((run / "summary.json").read_text())["policies"] for run in runs]
    places = [("Prompt ID", "1"), ("Prompt ID", "3"), ("Prompt ID", "24"), ("Prompt ID, by vote", "24")]
    assert rows.keys() == {*places, ("oracle (task given)", "")}
    for place, code in zip([*places, ("oracle (task given)", "")], POLICIES, strict=True):
        acc = [summary[parse_policy(code).code]["acc"] for summary in summaries]
        assert float(rows[place]["acc"]) == pytest.approx(mean(acc))
        assert float(rows[place]["acc_std"]) == pytest.approx(stdev(acc))
    axis = drawn("groups", found).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "3", "24"]
    assert any(list(line.get_xdata()) == [1, 3, 24] for line in axis.lines)


def test_each_kind_of_answer_has_a_panel(made: Make) -> None:
    run = made("dual-prompt+soft-tf", "--policy", *POLICIES, "--seed", 0)
    assert call("evaluate", run, "--policy", "prompt-id", "prompt-id:batch24") == 0
    wanted = [*POLICIES[:3], "prompt-id", "prompt-id:batch24"]
    titles = [axis.get_title() for axis in drawn("groups", numbers_of("groups", [run], policy=wanted)).axes]
    assert titles == ["answer: a class of the inferred task", "answer: any class seen so far"]


def test_methods_are_compared_each_under_its_own_policies(made: Make) -> None:
    masks = made("dual-prompt+soft-tf", "--policy", *POLICIES, "--seed", 0)
    head = made("linear-head", "--policy", "answer-id:own", "answer-id:batch24:own", "--seed", 0)
    found = numbers_of("groups", [masks, head], policy=["prompt-id:own", "answer-id:own", "answer-id:batch24:own"])
    rows = {(row["method"], row["inference"], row["samples"]) for row in table(found)}
    ours, theirs = "DualPrompt + Soft-TF", "Linear head only"
    assert rows == {(ours, "Prompt ID", "1"), (theirs, "Answer ID", "1"), (theirs, "Answer ID", "24")}
    labels = [text.get_text() for text in drawn("groups", found).legends[0].get_texts()]
    assert labels == [f"{ours}: Prompt ID", f"{theirs}: Answer ID"]
    with pytest.raises(UserError, match="gradient-id"):
        numbers_of("groups", [masks, head], policy=["gradient-id:own", "answer-id:batch24:own"])


def test_other_kinds_of_runs_are_refused(made: Make, renamed: Renamed) -> None:
    with pytest.raises(UserError, match="scored by no policy that pools evidence; `softtf evaluate"):
        numbers_of("groups", [made()])
    with pytest.raises(UserError, match="scored on shuffled samples"):
        numbers_of("groups", [made("dual-prompt+soft-tf", "--evaluate.shuffle")])

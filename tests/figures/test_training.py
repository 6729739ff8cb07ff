import csv
import json
from pathlib import Path

import pytest

from figures import drawn, table
from figures.conftest import Make, Renamed
from softtf.errors import UserError
from softtf.figures import numbers_of


def accuracies(run: Path, code: str) -> list[float]:
    """ACC after each task, from the run's own CSV: the mean of a column."""
    rows = list(csv.DictReader((run / "accuracy" / f"{code}.csv").read_text().splitlines()))
    columns = [name for name in rows[0] if name != "task"]
    return [sum(float(r[c]) for r in rows if r[c]) / sum(bool(r[c]) for r in rows) for c in columns]


def test_curves_are_the_log_and_the_accuracies(made: Make) -> None:
    runs = [made(), made("dual-prompt")]
    found = numbers_of("training", runs)
    rows = table(found)
    for run, label in zip(runs, ("DualPrompt + Soft-TF", "DualPrompt"), strict=True):
        mine = [row for row in rows if row["run"] == label]
        logged = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        losses = [
            (name, str(e["task"] + 1), str(e["epoch"]), value)
            for e in logged
            if e["event"] == "epoch"
            for name, value in e["losses"].items()
        ]
        shown = [(r["quantity"], r["task"], r["epoch"], float(r["value"])) for r in mine if r["quantity"] != "ACC"]
        assert shown == losses and len(losses) > 1
        for code, title in (("prompt-id", "Prompt ID, per-sample"), ("oracle", "oracle (task given)")):
            values = [float(r["value"]) for r in mine if r["policy"] == title]
            assert values == pytest.approx(accuracies(run, code), abs=1e-4)
    figure = drawn("training", found)
    assert [axis.get_title() for axis in figure.axes] == [
        "in training: cross entropy",
        "in training: matching",
        "ACC over the tasks seen (%)",
    ]


def test_a_run_without_a_log_has_no_curve(made: Make, renamed: Renamed) -> None:
    run = renamed(made(), "other")
    (run / "events.jsonl").unlink()
    with pytest.raises(UserError, match="has no losses in its log, events.jsonl; name another run"):
        numbers_of("training", [run])


@pytest.mark.slow
def test_closed_forms_log_what_they_find(made: Make) -> None:
    drawn("training", numbers_of("training", [made("ncm"), made("ranpac")], policy=["oracle"]))


def test_a_run_that_is_named_twice_counts_once(made: Make) -> None:
    assert numbers_of("training", [made(), made()]) == numbers_of("training", [made()])

import json

import pytest

from figures import drawn, table
from figures.conftest import Make
from softtf.errors import UserError
from softtf.figures import numbers_of


def test_points_are_those_of_the_summaries(made: Make) -> None:
    runs = {
        ("WSN", "80.0"): made("dual-prompt+wsn"),
        ("WSN", "30.0"): made("dual-prompt+wsn", "--learner.adapt.keep", 30),
        ("SoftNet", "50.0"): made("dual-prompt+softnet"),
        ("Soft-TF", ""): made(),
    }
    found = numbers_of("kept-share", list(runs.values()), policy=["prompt-id"])
    rows = table(found)
    assert [(row["method"], row["kept"]) for row in rows] == list(runs)
    for row, run in zip(rows, runs.values(), strict=True):
        policy = json.loads((run / "summary.json").read_text())["policies"]["prompt-id"]
        assert (float(row["acc"]), float(row["forget"])) == pytest.approx((policy["acc"], policy["forget"]))
    axis = drawn("kept-share", found).axes[0]
    wsn = next(line for line in axis.lines if list(line.get_xdata()) == [30.0, 80.0])  # in the order of c
    assert wsn.get_marker() == "o"
    assert "Masks on L[5,6], w/o FF" in found.caption


def test_other_kinds_of_runs_are_refused(made: Make) -> None:
    with pytest.raises(UserError, match="has no masks; this figure needs runs of WSN or SoftNet"):
        numbers_of("kept-share", [made("dual-prompt")])
    with pytest.raises(UserError, match="kept-share needs runs of WSN or SoftNet"):
        numbers_of("kept-share", [made()])
    with pytest.raises(UserError, match="runs of one set of masked layers"):
        numbers_of("kept-share", [made("dual-prompt+wsn"), made("dual-prompt+soft-tf", "--learner.adapt.layers", 6)])

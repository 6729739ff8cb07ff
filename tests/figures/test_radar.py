import json

import pytest

from figures import drawn, table
from figures.conftest import Make, Renamed
from softtf.errors import UserError
from softtf.figures import numbers_of


def test_every_spoke_has_every_method(made: Make, renamed: Renamed) -> None:
    methods = [made(), made("ncm")]
    runs = [run if name == "quickstart" else renamed(run, name) for name in ("quickstart", "b", "c") for run in methods]
    found = numbers_of("radar", runs)
    rows = table(found)
    assert len(rows) == 6
    policies = {"DualPrompt + Soft-TF": "Prompt ID, per-sample", "NCM (frozen features)": "no task needed, per-sample"}
    for run, code, (method, title) in zip(methods, ("prompt-id", "none"), policies.items(), strict=True):
        mine = [row for row in rows if row["method"] == method]
        summary = json.loads((run / "summary.json").read_text())["policies"]
        code = code if code in summary else next(iter(summary))
        assert [row["stream"] for row in mine] == ["quickstart", "b", "c"]
        assert {row["policy"] for row in mine} == {title}
        assert [float(row["acc"]) for row in mine] == pytest.approx([summary[code]["acc"]] * 3)
        assert f"{method}: {title}" in found.caption
    (axis,) = drawn("radar", found).axes
    assert all(len(line.get_xdata()) == 4 for line in axis.lines)  # closed


def test_streams_that_are_missing_are_named(made: Make, renamed: Renamed) -> None:
    with pytest.raises(UserError, match="at least three streams, not 1"):
        numbers_of("radar", [made()])
    runs = [made(), renamed(made(), "b"), renamed(made(), "c"), made("ncm")]
    with pytest.raises(UserError, match=r"no run of NCM \(frozen features\) is on b"):
        numbers_of("radar", runs)
    with pytest.raises(UserError, match="one policy, not 2"):
        numbers_of("radar", runs, policy=["prompt-id", "oracle"])

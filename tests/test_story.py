"""Six months of a learner, as the site tells them: the story's own assertions hold."""

import runpy
from pathlib import Path

import pytest

STORY = Path(__file__).parents[1] / "docs/tutorials/six_months.py"


@pytest.mark.slow
def test_six_months_of_a_learner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # which the story sets anew
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    told = runpy.run_path(str(STORY))
    model = told["model"]
    assert model.classes.names == ["January", "February", "May", "June", "April, sixes", "hers"]
    assert "seven" not in model.labels and "nought" in model.labels and "zero" not in model.labels
    assert told["accuracy"] > 0.8
    assert "`April, sixes`" in told["card"] and "March" not in told["card"]
    assert len(told["lines"]) == len(told["photos"]) and told["about"]["largest_difference"] < 1e-4
    assert told["apart"]["unknown_rejected"] > told["apart"]["known_rejected"]

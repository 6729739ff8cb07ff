"""One table of runs and of what was scored later."""

import json
from pathlib import Path

import pytest
from benchmarks import collect

METRICS = dict.fromkeys(collect.METRICS, 1.0)


def test_what_evaluate_found_stands_beside_the_runs_own_and_takes_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {code: {"title": code, "test_seconds": 1.0, **METRICS} for code in ("prompt", "gradient")}
    old = {"method": "ncm", "parameters_per_task": 3, "train_seconds": 73.0, "policies": own}
    (tmp_path / "summary.json").write_text(json.dumps(old))
    (tmp_path / "rescored").mkdir()
    found = {"a": ("gradient", 7.0, {"correct": []}), "b": ("other", 9.0, {"correct": []}), "c": ("last", 2.0, None)}
    for name, (title, acc, accuracy) in found.items():
        content = {**METRICS, "title": title, "acc": acc, "accuracy": accuracy}
        (tmp_path / "rescored" / f"{name}.json").write_text(json.dumps(content))
    collect.main([str(tmp_path)])
    cells = [line.split(" | ")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert cells == [["prompt", "1.0"], ["gradient", "7.0"], ["other", "9.0"]]

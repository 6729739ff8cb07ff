"""One table of runs and of what was scored later: mean and deviation over seeds, never over different weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import collect

from softtf.config import to_yaml
from softtf.learners import FT
from softtf.runconfig import RunConfig

METRICS = dict.fromkeys(collect.METRICS, 1.0)


def finished(folder: Path, seed: int = 0, weights: str = "a (SHA-256 0)", **policies: Any) -> str:
    """A run's folder as an earlier version left it, but for the weights."""
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(RunConfig(method="ft", learner=FT(), seed=seed)))
    content = {"method": "ft", "seed": seed, "weights": weights, "parameters_per_task": 3, "train_seconds": 73.0}
    (folder / "summary.json").write_text(json.dumps(content | {"policies": policies}))
    return str(folder)


def test_what_evaluate_found_stands_beside_the_runs_own_and_takes_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {code: {"title": code, "test_seconds": 1.0, **METRICS} for code in ("prompt", "gradient")}
    path = finished(tmp_path / "run", **own)
    (tmp_path / "run/rescored").mkdir()
    found = {"a": ("gradient", 7.0, {"correct": []}), "b": ("other", 9.0, {"correct": []}), "c": ("last", 2.0, None)}
    for name, (title, acc, accuracy) in found.items():
        content = {**METRICS, "title": title, "acc": acc, "accuracy": accuracy}
        (tmp_path / "run/rescored" / f"{name}.json").write_text(json.dumps(content))
    collect.main([path])
    cells = [line.split(" | ")[1:4:2] for line in capsys.readouterr().out.splitlines()[2:]]
    assert cells == [["prompt", "1.0"], ["gradient", "7.0"], ["other", "9.0"]]


def test_seeds_of_the_same_weights_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [(0, "a (SHA-256 0)", 40.0), (1, "a (SHA-256 0)", 60.0), (2, "a (SHA-256 1)", 90.0)]
    policy = {"title": "oracle (task given)", "test_seconds": 1.0, **METRICS}
    paths = [finished(tmp_path / str(seed), seed, weights, oracle=policy | {"acc": acc}) for seed, weights, acc in runs]
    collect.main(paths)
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [(row.split(" | ")[3], row.split(" | ")[-1]) for row in rows] == [
        ("50.0 ± 14.1", "a (SHA-256 0) |"),
        ("90.0", "a (SHA-256 1) |"),
    ]

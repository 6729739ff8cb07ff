"""The table of finished runs and of what was scored later: deviation over seeds, never over different weights."""

import json
from pathlib import Path

import pytest
from benchmarks import collect

from softtf.config.tree import to_yaml
from softtf.learners import NCM
from softtf.runs.config import RunConfig

METRICS = dict.fromkeys(collect.METRICS, 1.0)
OLD = {"method": "ncm", "parameters_per_task": 3, "train_seconds": 73.0}


def finished(folder: Path, weights: str = "a (SHA-256 0)", seed: int = 0, **accuracy: float) -> str:
    """A run's folder with what an earlier version told of each policy."""
    policies = {code: {**METRICS, "title": code, "test_seconds": 1.0, "acc": acc} for code, acc in accuracy.items()}
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(RunConfig(method="ncm", learner=NCM(), seed=seed)))
    (folder / "summary.json").write_text(json.dumps({**OLD, "seed": seed, "weights": weights, "policies": policies}))
    return str(folder)


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]


def test_seeds_of_the_same_weights_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [("a (SHA-256 0)", 40.0), ("a (SHA-256 0)", 60.0), ("a (SHA-256 1)", 90.0)]
    collect.main([finished(tmp_path / str(i), weights, i, prompt=acc) for i, (weights, acc) in enumerate(runs)])
    found = [(row[3], row[-1]) for row in rows(capsys)]
    assert found == [("50.0 ± 14.1", "a (SHA-256 0)"), ("90.0", "a (SHA-256 1)")]


def test_what_evaluate_found_stands_beside_the_runs_own_and_takes_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path / "run", prompt=1.0, gradient=1.0)
    (tmp_path / "run/rescored").mkdir()
    found = {"a": ("gradient", 7.0, {"correct": []}), "b": ("other", 9.0, {"correct": []}), "c": ("last", 2.0, None)}
    for name, (title, acc, accuracy) in found.items():
        content = {**METRICS, "title": title, "acc": acc, "accuracy": accuracy}
        (tmp_path / "run/rescored" / f"{name}.json").write_text(json.dumps(content))
    collect.main([run])
    assert [(row[1], row[3]) for row in rows(capsys)] == [("prompt", "1.0"), ("gradient", "7.0"), ("other", "9.0")]

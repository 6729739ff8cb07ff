"""The table of finished runs: mean and deviation over seeds, never over different weights."""

import json
from pathlib import Path

import pytest
from benchmarks import collect

POLICY = {name: 50.0 for name in collect.METRICS} | {"title": "oracle (task given)"}


def finished(folder: Path, seed: int, weights: str, acc: float) -> str:
    content = {"method": "ft", "seed": seed, "weights": weights, "parameters_per_task": 7, "train_seconds": 1.0}
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(content | {"policies": {"oracle": POLICY | {"acc": acc}}}))
    return str(folder)


def test_seeds_of_the_same_weights_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [(0, "a (SHA-256 0)", 40.0), (1, "a (SHA-256 0)", 60.0), (2, "a (SHA-256 1)", 90.0)]
    collect.main([finished(tmp_path / str(seed), seed, weights, acc) for seed, weights, acc in runs])
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [(row.split(" | ")[2], row.split(" | ")[-1]) for row in rows] == [
        ("50.0 ± 14.1", "a (SHA-256 0) |"),
        ("90.0", "a (SHA-256 1) |"),
    ]

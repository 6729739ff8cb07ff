"""Seconds say what they are: those that passed in the run, and those it would take with nothing kept."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from cli import BACKBONE, DIGITS, SMALL, call, output, read_json
from softtf.backbones.feature_store import FeatureStore, Queries
from softtf.evaluation.report import HEADERS, to_csv
from softtf.learners import NCM as NCM_METHOD
from softtf.paper import table_named
from softtf.paper.lines import lines_of
from softtf.paper.report import CSV_FIELDS
from softtf.paper.report import HEADERS as TABLE_HEADERS
from softtf.paper.runs import Cell, Wish, resolve
from softtf.runs.config import RunConfig
from softtf.runs.folder import RunFolder
from softtf.runs.results import result_rows
from softtf.runs.seconds import seconds_of, upgraded
from softtf.streams import ImagePreparation
from softtf.sweeps.job import Job

NCM = ("run", "quickstart", "--method", "ncm", *BACKBONE, *SMALL, *DIGITS, "--feature-cache", "features")
KINDS = ("this run", "from nothing")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_adds_up_what_passed_and_what_was_kept() -> None:
    events = [
        {"event": "epoch", "task": 0, "epoch": 1, "seconds": 2.0, "kept": 70.0},
        {"event": "epoch", "task": 0, "epoch": 2, "seconds": 3.0, "kept": 0.0},
        {"event": "consolidation", "task": 0, "seconds": 0.5, "kept": 4.0},
        {"event": "evaluation", "task": 0, "seconds": {"a": 1.0, "b": 2.0}, "from_nothing": {"a": 9.0, "b": 2.0}},
        {"event": "evaluation", "task": 1, "seconds": {"a": 0.5}, "from_nothing": {"a": 8.0}, "wall": 7.0},
    ]
    found = seconds_of(events)
    assert (found.train, found.train_from_nothing, found.evaluation) == (5.5, 79.5, 7.0)
    assert (found.test, found.test_from_nothing) == ({"a": 1.5, "b": 2.0}, {"a": 17.0, "b": 2.0})


def test_a_log_of_an_earlier_version_tells_one_number_for_both() -> None:
    events = [{"event": "epoch", "task": 0, "seconds": 2.0}, {"event": "evaluation", "task": 0, "seconds": {"a": 1.0}}]
    found = seconds_of(events)
    assert found.train == found.train_from_nothing == 2.0 and found.test == found.test_from_nothing == {"a": 1.0}


def test_a_run_on_kept_features_does_not_count_another_runs_seconds_as_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the features took is set to 1,000 seconds a file; no run here takes a hundred."""
    true_write = FeatureStore.write

    def write(self: FeatureStore, path: Path, queries: Queries) -> None:
        true_write(self, path, Queries(queries.values, 1000.0))

    monkeypatch.setattr(FeatureStore, "write", write)
    for name in ("first", "second"):
        assert call(*NCM, "--output", name) == 0
    first, second = (read_json(Path(name) / "summary.json") for name in ("first", "second"))
    _, config = RunFolder.open(Path("second"))
    assert first["train_seconds_this_run"] == first["train_seconds_from_nothing"] < 100
    assert second["train_seconds_this_run"] < 100
    assert second["train_seconds_from_nothing"] == pytest.approx(2 * 1000 + second["train_seconds_this_run"])
    events = [json.loads(line) for line in Path("second/events.jsonl").read_text().splitlines()]
    passed = sum(e["seconds"] for e in events if e["event"] == "epoch")
    passed += sum(e["seconds"] for e in events if e["event"] == "consolidation")
    assert second["train_seconds_this_run"] == pytest.approx(passed)
    for policy in second["policies"].values():  # the first task's half of the test data, then all of it
        assert policy["test_seconds_this_run"] < 100
        assert policy["test_seconds_from_nothing"] == pytest.approx(1500, rel=0.1)
    assert [row.train_seconds_from_nothing for row in result_rows(second, config)] == [
        second["train_seconds_from_nothing"]
    ] * 2


def test_every_header_says_which_seconds_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for headers in (HEADERS, TABLE_HEADERS):
        timed = [header for header in headers if " s" in header and ("Train" in header or "Test" in header)]
        assert timed == [f"{part} s, {kind}" for part in ("Train", "Test") for kind in KINDS]
    timed = [field for field in CSV_FIELDS if "_s_" in field and not field.endswith("_std")]
    assert timed == [f"{part}_s_{kind}" for part in ("train", "test") for kind in ("this_run", "from_nothing")]
    assert " ".join(output(capsys, *NCM, "--output", "new").split()).count("from nothing") >= 1


def test_a_summary_of_an_earlier_version_is_read_as_what_it_told() -> None:
    policy = {"title": "t", "acc": 1.0, "forget": 0.0, "task_identity": None, "test_seconds": 5.0}
    old = {"method": "ncm", "parameters_per_task": 3, "train_seconds": 73.0, "evaluation_seconds": 35.0}
    new = upgraded({**old, "policies": {"none": policy}})
    (row,) = result_rows({**new, "weights": "w"}, RunConfig(method="ncm", learner=NCM_METHOD()))
    assert (row.train_seconds_this_run, row.train_seconds_from_nothing) == (None, 73.0)
    assert (row.test_seconds_this_run, row.test_seconds_from_nothing) == (None, 5.0)
    (line,) = csv.DictReader(io.StringIO(to_csv([row])))
    assert line["train_seconds_this_run"] == "" and line["train_seconds_from_nothing"] == "73.00"
    assert upgraded({k: v for k, v in new.items() if k != "train_seconds"})["train_seconds_from_nothing"] == 73.0


def test_a_table_shows_runs_of_earlier_versions_too(tmp_path: Path) -> None:
    row = next(row for row in table_named("8").rows if row.trained_on_stream)
    config = resolve(row, "cifar100-10", Wish("mini"))
    policy = {"title": "t", "acc": 1.0, "forget": 0.0, "task_identity": 2.0, "test_seconds": 5.0}
    summary = {"method": "m", "train_seconds": 73.0, "evaluation_seconds": 35.0, "parameters_per_task": 3}
    policies = {code: policy for code in config.evaluate.policies}
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "policies": policies}))
    job = Job(config, tmp_path)
    assert job.seconds == 108.0
    ours = next(line for line in lines_of("8", [Cell(row, "cifar100-10", (job,))]) if line.numbers == "ours")
    assert ours.seconds == ((), (73.0,), (), (5.0,))
    assert ours.cells[-5:] == ["–", "73.0", "–", "5.0", "unknown"]


def test_loading_counts_in_training_and_on_no_clock_of_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing is never less than this run, however long inputs take to load."""
    for name in ("load_train", "load_test"):
        load = getattr(ImagePreparation, name)

        def slow(self: ImagePreparation, raw: object, where: str, load: Any = load) -> Tensor:
            time.sleep(0.02)
            return load(self, raw, where)

        monkeypatch.setattr(ImagePreparation, name, slow)
    for name in ("first", "second"):
        assert call(*NCM, "--output", name) == 0
    first, second = (read_json(Path(name) / "summary.json") for name in ("first", "second"))
    for summary in (first, second):
        assert summary["train_seconds_from_nothing"] >= summary["train_seconds_this_run"]
        for policy in summary["policies"].values():
            assert policy["test_seconds_from_nothing"] >= policy["test_seconds_this_run"]
    examples = 2 * 5 * 6
    assert min(s["train_seconds_from_nothing"] for s in (first, second)) > 0.02 * examples

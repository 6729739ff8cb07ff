"""A run's folder: what is not its own process's, not its own file, or too large is refused, and nothing is lost."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from softtf.errors import UserError
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.evaluate import Score
from softtf.files.lock import Lock
from softtf.inference.policy import Policy
from softtf.learners.class_table import ClassTable
from softtf.recipes.recipes import recipe_named
from softtf.runs import log
from softtf.runs.folder import PARTS, RunFolder
from softtf.runs.log import read_log
from softtf.runs.summary import agrees
from softtf.saving.learner import finish_saving, save_task

CONFIG = recipe_named("quickstart", "dual-prompt")
EPOCH = {"task": 0, "epoch": 1, "seconds": 1.0}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", CONFIG)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


WRITES: dict[str, Callable[[RunFolder], object]] = {
    "log": lambda run: run.log("epoch", **EPOCH),
    "checkpoint": lambda run: run.save_checkpoint(1, {"epoch": torch.tensor(1)}),
    "counts": lambda run: run.scores.save(0, {Policy("oracle"): Score([1], [1], [1], 0.0, 0.0)}),
    "json": lambda run: run.write_json("data.json", {}),
    "text": lambda run: run.write_text("config.yaml", ""),
    "summary": lambda run: run.save_summary({}),
    "events": lambda run: run.forget_events_after(0, 0),
    "task": lambda run: save_task(run.learner, None, ClassTable(), 0),  # type: ignore[arg-type]  # it reads none of it
    "manifest": lambda run: finish_saving(run.learner),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WRITES)
def test_a_run_whose_folder_another_process_made_again_writes_nothing(
    what: str, run: RunFolder, saved: Path, tmp_path: Path
) -> None:
    shutil.rmtree(run.path)
    pid = os.fork()
    if pid == 0:  # another process makes a run there, and stays alive until the end of the test
        run._lock = None
        other = RunFolder.create(run.path, CONFIG)
        shutil.copytree(saved, other.learner)
        other.log("epoch", **EPOCH)
        (tmp_path / "there").touch()
        while not (tmp_path / "end").exists():
            pass
        os._exit(0)
    try:
        while not (tmp_path / "there").exists():
            pass
        before = contents(run.path)
        with pytest.raises(UserError, match="is no longer this process's: somebody removed .*; nothing more"):
            WRITES[what](run)
        run.discard()
        run.unlock()
        assert contents(run.path) == before
    finally:
        (tmp_path / "end").touch()
        os.waitpid(pid, 0)


def test_a_folder_that_was_removed_is_not_made_again(run: RunFolder) -> None:
    shutil.rmtree(run.path)
    with pytest.raises(UserError, match="is no longer this process's"):
        run.write_json("data.json", {})
    assert not run.path.exists()
    run.unlock()


@pytest.mark.parametrize("part", PARTS)
def test_a_run_whose_part_is_a_link_is_refused(part: str, run: RunFolder, tmp_path: Path) -> None:
    run.unlock()
    (run.path / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{part} is a link; a run keeps its parts in its own folder"):
        RunFolder.open(run.path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_that_comes_later_is_not_written_through(run: RunFolder, tmp_path: Path) -> None:
    run.events.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="could not write .*events.jsonl"):
        run.log("epoch", **EPOCH)
    assert not (tmp_path / "elsewhere").exists()


def test_a_stray_folder_with_a_temporary_name_is_left_alone(run: RunFolder) -> None:
    (run.path / ".x.tmp").mkdir()
    (run.path / ".y.tmp").touch()
    run.sweep()
    assert (run.path / ".x.tmp").is_dir() and not (run.path / ".y.tmp").exists()


def test_a_run_may_begin_on_a_new_disk(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    RunFolder.create(tmp_path, CONFIG).unlock()


def test_a_log_that_is_too_large_is_refused_before_it_is_read(run: RunFolder) -> None:
    run.events.touch()
    os.truncate(run.events, log.LARGEST + 1)  # sparse
    for read in (run.sweep, run.logged, lambda: read_log(run.events)):
        with pytest.raises(UserError, match=r"events\.jsonl cannot be read: it has 67,108,865 bytes"):
            read()


def test_one_changed_digit_of_a_summary_is_found(run: RunFolder) -> None:
    policies = {
        "oracle": {
            "title": "oracle",
            "acc": 20.0,
            "forget": 0.0,
            "task_identity": None,
            "test_seconds_this_run": 1.0,
            "test_seconds_from_nothing": 1.0,
        }
    }
    results = {"method": "ncm", "parameters_per_task": 1, "weights": "w", "policies": policies}
    run.save_summary({**results, "train_seconds_this_run": 1.0, "train_seconds_from_nothing": 1.0})
    assert run.summary()["policies"] == policies
    file = run.path / "summary.json"
    text = file.read_text()
    file.write_text(text.replace("20.0", "95.0"))
    with pytest.raises(UserError, match=r"summary\.json is not the file that was saved.*; remove it, and `softtf"):
        run.summary()
    content = json.loads(text)
    del content["sha256"]  # as softtf 0.1 wrote it
    file.write_text(json.dumps(content))
    assert run.summary()["policies"] == policies


def test_a_summary_without_a_hash_must_agree_with_the_counts(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = AccuracyMatrix()
    matrix.add_row([1], [5], [1])
    monkeypatch.setattr(run.scores, "counted", lambda: 1)
    monkeypatch.setattr(run.scores, "matrices", lambda _: {"oracle": matrix})
    assert agrees({"oracle": {"acc": 20.0}}, run.scores) and not agrees({"oracle": {"acc": 95.0}}, run.scores)


def test_a_lock_that_is_held_lets_its_process_write(run: RunFolder) -> None:
    run.log("epoch", **EPOCH)
    run.write_json("data.json", {})
    assert run.logged() and isinstance(run._lock, Lock)
    run.unlock()
    run.write_json("data.json", {"x": 1})

"""How far a run is, from its folder alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from softtf.files.lock import Lock
from softtf.sweeps import state
from softtf.sweeps.state import State, epochs_of, failure_file, state_of


def begun(path: Path, tasks: int, epochs: int) -> None:
    """Write what a run leaves that has learned so many tasks, and so many epochs of the next."""
    (path / "learner").mkdir(parents=True)
    (path / "config.yaml").touch()
    events: list[dict[str, Any]] = []
    for task in range(tasks):
        (path / f"learner/task-{task + 1:03d}.json").touch()
        events += [{"event": "epoch", "task": task, "epoch": 1, "seconds": 30.0}]
        accuracy = {"prompt-id": 40.0 + task, "oracle": 90.0}
        events += [
            {"event": "evaluation", "task": task, "accuracy": accuracy, "seconds": {"prompt-id": 1.0}, "wall": 2.0}
        ]
    events += [{"event": "epoch", "task": tasks, "epoch": epoch + 1, "seconds": 30.0} for epoch in range(epochs)]
    (path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_from_nothing_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert state_of(path) == State("to do") and epochs_of(path) == 0
    begun(path, 2, 3)
    far = "ACC 41.0 (prompt-id), 2 tasks, 3 epochs of the next"
    assert state_of(path) == State("stopped", far) and epochs_of(path) == 7
    lock = Lock(path)
    assert state_of(path) == State("running", far)
    lock.release()
    failure_file(path).write_text('{"reason": "the loss is not finite"}')
    assert state_of(path) == State("failed", "the loss is not finite")
    (path / "summary.json").touch()
    assert state_of(path) == State("finished", "ACC 41.0 (prompt-id), in 2 min 34 s")


def test_a_log_is_read_again_only_if_it_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    true_read = state.read_log
    monkeypatch.setattr(state, "read_log", lambda file: read.append(file) or true_read(file))
    path = tmp_path / "run"
    begun(path, 2, 3)
    assert [epochs_of(path) for _ in range(3)] == [7] * 3 and len(read) == 1
    with (path / "events.jsonl").open("a") as log:
        log.write(json.dumps({"event": "epoch", "task": 2, "epoch": 4, "seconds": 30.0}) + "\n")
    assert state_of(path).words == "ACC 41.0 (prompt-id), 2 tasks, 4 epochs of the next" and len(read) == 2


def test_what_cannot_be_read_is_said_and_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    failure_file(path).write_text("{")
    assert state_of(path).kind == "failed" and "cannot be read" in state_of(path).words
    begun(path, 1, 0)
    (path / "events.jsonl").write_bytes(b"\0\xff\n")
    failure_file(path).unlink()
    assert state_of(path) == State("stopped", "1 tasks")

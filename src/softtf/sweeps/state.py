"""How far a run is, read from its folder alone: from any shell, on any machine that sees the folder."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from softtf.errors import UserError
from softtf.files.lock import LARGEST, holder
from softtf.files.plain_json import fits, read_object
from softtf.files.reading import read_bytes
from softtf.runs.log import read_log
from softtf.runs.seconds import seconds_of
from softtf.screen import duration
from softtf.sweeps.away import holder_of, lease_file

Kind = Literal["finished", "running", "failed", "stopped", "to do"]


def failure_file(path: Path) -> Path:
    """Return the file beside a run's folder that says why the run failed; the folder itself may be gone."""
    return path.with_name(f"{path.name}.failure.json")


def epochs_of(path: Path) -> int:
    """Return how many epochs and tasks a run has finished, as far as its log tells."""
    return len(_events(path))


@dataclass(frozen=True)
class State:
    """How far a run is.

    Attributes:
        kind: finished, running, failed, stopped or to do.
        words: how far, or why it failed.
    """

    kind: Kind
    words: str = ""


def state_of(path: Path) -> State:
    """Return how far the run of a folder is; nothing is written, and no lock is taken for longer than a moment."""
    events = _events(path)
    if (path / "summary.json").exists():
        seconds = seconds_of(events)
        return State("finished", f"{_accuracy(events)}in {duration(seconds.train + seconds.evaluation)}")
    if holder(path) or _leased(path):
        return State("running", _far(path, events))
    if (reason := _failure(path)) is not None:
        return State("failed", reason)
    if (path / "config.yaml").exists():
        return State("stopped", _far(path, events))
    return State("to do")


def _leased(path: Path) -> bool:
    """Return whether a worker holds the lease of a run whose output is at a URL, as far as was seen."""
    try:
        return holder_of(read_bytes(lease_file(path), LARGEST)) is not None
    except OSError:
        return False


def _far(path: Path, events: list[dict[str, Any]]) -> str:
    tasks = len(list(path.glob("learner/task-*.json")))
    epochs = sum(event["event"] == "epoch" and event["task"] == tasks for event in events)
    beyond = f", {epochs} epochs of the next" if epochs else ""
    return f"{_accuracy(events)}{tasks} tasks{beyond}"


def _accuracy(events: list[dict[str, Any]]) -> str:
    """Return the newest accuracy under the run's first policy, and a comma."""
    found = [event["accuracy"] for event in events if fits(event, {"accuracy": {str: (int, float)}})]
    return next((f"ACC {value:.1f} ({code}), " for code, value in found[-1].items()), "") if found else ""


def _failure(path: Path) -> str | None:
    file = failure_file(path)
    if not file.exists():
        return None
    try:
        content = read_object(file)
    except UserError as error:
        return str(error)
    return str(content.get("reason", "it is not said why"))


def _events(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log; they are read again only if the file has changed."""
    file = path / "events.jsonl"
    try:
        about = file.stat()
        return _read(file, about.st_mtime_ns, about.st_size)
    except (OSError, UserError):
        return []


@lru_cache(maxsize=64)
def _read(file: Path, changed: int, size: int) -> list[dict[str, Any]]:
    return read_log(file)[0]

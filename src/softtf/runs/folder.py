"""A run's folder: settings, log, results and learner. Each file is complete or absent after a crash.

config.yaml              the resolved settings; runs again with `softtf run --config`
data.json                identifies the data (softtf.streams.identity)
environment.json         versions, commit, machine
events.jsonl             a line per epoch and per evaluation
learner/                 one file per finished task (softtf.saving.learner)
accuracy/after-001.json  counts of right answers after task 1, per policy (softtf.runs.scores)
predictions/*.safetensors  each test sample's answer in the last evaluation, per policy (softtf.runs.predictions)
checkpoint.safetensors   the unfinished task as of its last full epoch
.lock                    the process that works on the run (softtf.files.lock)
accuracy/*.csv, accuracy.json, summary.json   at the end
tracking.json            the run's id for trackers (softtf.runs.tracking)
rescored/*.json          results of `softtf evaluate`, a file per policy and way of scoring
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from softtf.config.tree import from_yaml, to_yaml
from softtf.errors import UserError, reason_of
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.files.lock import NAME as LOCK
from softtf.files.lock import Lock, check_idle, check_ours
from softtf.files.plain_json import fits, read_object
from softtf.files.reading import read_bytes, read_text
from softtf.files.temporary import is_abandoned, is_of_file_system, is_temporary
from softtf.files.tensors import checksum, load_metadata, load_tensors, tensor_bytes, write_atomic
from softtf.runs.config import RunConfig
from softtf.runs.log import LARGEST, read_log
from softtf.runs.predictions import RunPredictions, file_name
from softtf.runs.scores import RunScores
from softtf.runs.summary import read_summary
from softtf.saving.header import Header
from softtf.saving.manifest import Manifest, seal
from softtf.streams import quiet

PARTS = (
    *("learner", "accuracy", "predictions", "rescored", "tensorboard", "wandb"),
    *("events.jsonl", "checkpoint.safetensors", "summary.json", "tracking.json"),
)
"""The names that a run writes in its folder; none may be a link."""
SETTINGS = "settings.json"
TASK = re.compile("0|[1-9][0-9]{0,8}")
"""The name of a task in a checkpoint."""


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.learner = path / "learner"
        self.scores = RunScores(path / "accuracy", self.learner)
        self.predictions = RunPredictions(path / "predictions", self.learner)
        self.checkpoint = path / "checkpoint.safetensors"
        self.events = path / "events.jsonl"
        self._lock: Lock | None = None

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunFolder":
        """Make the folder of a new run, and lock it.

        Raises:
            UserError: it holds a run, another process is making one in it, or it cannot be written.
        """
        cls.check_free(path)
        folder = cls(path)
        folder.lock()
        try:
            cls.check_free(path, locked=True)
            folder.sweep()
            write_atomic(path / "config.yaml", to_yaml(config))
        except BaseException:
            folder.unlock()
            with suppress(OSError):  # which it does if it holds anything
                path.rmdir()
            raise
        return folder

    def lock(self) -> None:
        """Lock the run for this process, until `unlock` or until the process ends.

        Raises:
            UserError: another process has the lock (a BusyError), or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path)
        except OSError as error:
            raise UserError(f"could not lock {self.path}: {reason_of(error)}") from None

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()

    @staticmethod
    def check_free(path: Path, locked: bool = False) -> None:
        """Refuse a folder that is not empty; what a crash left of a first file does not count.

        Args:
            path: the folder.
            locked: whether this process has its lock.

        Raises:
            UserError: it is not empty, or another process works on it (a BusyError).
        """
        if not locked:
            check_idle(path)
        if path.exists() and (not path.is_dir() or any(not is_torn(p) for p in path.iterdir())):
            remedy = f"go on with `softtf resume {path}`, or " if (path / "config.yaml").exists() else ""
            raise UserError(f"{path} exists already; {remedy}give another folder with --output")

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", RunConfig]:
        """Open a run's folder.

        Raises:
            UserError: there is no run, or a part of it is a link, through which a run from someone else could write
            elsewhere.
        """
        file = path / "config.yaml"
        for part in map(path.joinpath, PARTS):
            if part.is_symlink():
                raise UserError(f"{part} is a link; a run keeps its parts in its own folder: put the real one there")
        try:
            text = read_text(file)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path} is not a run: there is no {file}") from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {reason_of(error)}") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not a text file: {error}") from None
        return cls(path), from_yaml(RunConfig, text, str(file))

    def discard(self) -> None:
        """Remove the files of a run without a finished task, and the folder if it is then empty.

        Nothing is removed if this process has lost the lock.
        """
        if self._lock is not None and self._lock.is_lost:
            return
        with suppress(OSError):
            for name in ("learner", "accuracy", "predictions", "tensorboard", "wandb"):
                shutil.rmtree(self.path / name, ignore_errors=True)
            described = ("environment.json", "data.json", SETTINGS, "config.yaml")
            for name in ("checkpoint.safetensors", "events.jsonl", "tracking.json", *described):
                (self.path / name).unlink(missing_ok=True)
            self.unlock()
            self.path.rmdir()

    def learner_files(self) -> bool:
        """Return whether a task was ever saved, complete or not."""
        return any(self.learner.glob("task-*"))

    @property
    def weights(self) -> str:
        """The name of the backbone's weights in tables (`BackboneSpec.weights_title`), from the learner's header.

        Raises:
            UserError: the header is missing or broken.
        """
        header = Header.read(self.learner)
        return header.backbone.weights_title(header.backbone_sha256)

    def summary(self) -> dict[str, Any]:
        """Return the summary of a finished run, with today's names (`upgraded`).

        Summaries of earlier versions lack the weights; the learner's header has them.

        Raises:
            UserError: it cannot be read, or is not the file that was written.
        """
        results = read_summary(self.path / "summary.json", self.scores)
        if not fits(results, {"weights": str}):
            try:
                results["weights"] = self.weights
            except UserError:
                results["weights"] = "unknown"
        return results

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file at the top of the folder."""
        write_atomic(self.path / name, json.dumps(content, indent=2) + "\n")

    def save_summary(self, results: Mapping[str, Any]) -> None:
        """Write the summary of a finished run, sealed."""
        write_atomic(self.path / "summary.json", seal(results))

    def write_text(self, name: str, content: str) -> None:
        """Write a text file below the folder."""
        write_atomic(self.path / name, content)

    def log(self, event: str, **fields: Any) -> None:
        """Append one line to events.jsonl.

        Raises:
            UserError: it cannot be written, or is a link, as in a run from someone else it may be.
        """
        check_ours(self.events)
        try:
            with open(self.events, "a", encoding="utf-8", opener=_follow_no_link) as file:
                file.write(json.dumps({"event": event, **fields}) + "\n")
        except OSError as error:
            raise UserError(f"could not write {self.events}: {reason_of(error)}; finished tasks are intact") from None

    def sweep(self, note: Callable[[str], object] = quiet) -> None:
        """Remove incomplete files, lines and evaluations that a crash left.

        Lines of the log that cannot be read are removed too; `note` is called with their number.
        """
        if unread := read_log(self.events)[1]:
            note(f"{self.events}: lines that cannot be read are left out: {unread}")
        for file in filter(is_abandoned, self.path.rglob(".*.tmp")):  # others may be of `softtf evaluate`
            if file.is_symlink() or not file.is_dir():
                file.unlink(missing_ok=True)
        self._keep_events(lambda e: e["event"] != "evaluation" or self.scores.has(e["task"]))

    def logged(self) -> list[dict[str, Any]]:
        """Return the lines of events.jsonl that can be read."""
        return read_log(self.events)[0]

    def forget_events_after(self, task: int, epoch: int) -> None:
        """Remove from the log what must be done again: epochs of `task` beyond `epoch`, and everything later."""
        self._keep_events(lambda e: e["task"] < task or (e["task"] == task and e.get("epoch", epoch + 1) <= epoch))

    def _keep_events(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        text = "".join(json.dumps(e) + "\n" for e in self.logged() if wanted(e))
        if self.events.exists() and text.encode() != read_bytes(self.events, LARGEST):
            write_atomic(self.events, text)

    def save_rescored(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write the result of scoring under another policy; each policy and way of scoring has its own name."""
        file = self.path / "rescored" / f"{file_name(name)}.json"
        write_atomic(file, json.dumps(content, indent=1) + "\n")
        return file

    def rescored(self) -> list[dict[str, Any]]:
        """Return what `save_rescored` wrote, by name.

        Raises:
            UserError: a file cannot be read.
        """
        found = []
        for file in sorted((self.path / "rescored").glob("*.json")):
            found.append(read_object(file))
        return found

    def save_matrix(self, code: str, matrix: AccuracyMatrix) -> None:
        """Write a policy's accuracy matrix as CSV."""
        self.write_text(f"accuracy/{file_name(code)}.csv", matrix.to_csv())

    def save_checkpoint(self, task: int, tensors: Mapping[str, Tensor]) -> None:
        """Replace the checkpoint; it contains its task, and the hash of the learner before that task."""
        of = {"task": str(task), "learner": Manifest.read(self.learner).identity}
        here = {name: tensor.detach().cpu() for name, tensor in tensors.items()}  # read from the device once
        write_atomic(self.checkpoint, tensor_bytes(here, of | {"sha256": checksum(here, *of.values())}))

    def load_checkpoint(self, task: int) -> dict[str, Tensor] | None:
        """Return the checkpoint of this task or a later one; None if there is none, or only one of an earlier task.

        Raises:
            UserError: it is damaged, or it belongs to another learner.
        """
        if not self.checkpoint.exists():
            return None
        of, tensors = load_metadata(self.checkpoint), load_tensors(self.checkpoint)
        sha256 = of.pop("sha256", None)
        if sha256 is None and of.keys() == {"task"}:
            if of["task"] != str(task):
                return None
            raise UserError(f"{self.checkpoint} has no SHA-256 (softtf 0.1 wrote none)")
        if of.keys() != {"task", "learner"} or sha256 != checksum(tensors, of["task"], of["learner"]):
            raise UserError(f"{self.checkpoint} is not the file that was saved: its SHA-256 is not the one it names")
        if not TASK.fullmatch(of["task"]):
            raise UserError(f"{self.checkpoint} names {of['task'][:20]!r} as its task, which is no number of a task")
        if int(of["task"]) < task:
            return None
        if of["task"] != str(task) or of["learner"] != Manifest.read(self.learner).identity:
            raise UserError(f"{self.checkpoint} is of another run: it goes on from another learner")
        return tensors


def _follow_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def is_torn(file: Path) -> bool:
    """Return whether a folder without a run may hold this file: left by a crash, or part of a new disk."""
    return file.name == LOCK or is_temporary(file) or is_of_file_system(file)

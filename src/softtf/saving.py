"""A learner on disk: one small safe file per task, and exact reload.

    learner.json            backbone (by name and hash), learner, seed, how to train and to answer; written before the
                            first task and, with the number of tasks, after the last
    task-001.safetensors    the parameters of task 1, in the form in which finished ones are kept in memory too
    shared-001.safetensors  what all tasks share, as it was after task 1 (a run keeps one per task, else the last)
    task-001.json           classes, files and hashes; written last, so a task exists once this file does

Every file is written to a temporary name and moved, and none is ever changed: a crash loses at most the
task that was being saved, and a run's learner can be loaded as it was after any task.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.load import BackboneSpec
from softtf.classes import ClassTable
from softtf.config import from_dict, to_dict
from softtf.errors import UserError, unknown
from softtf.learners.base import MEMORY, Learner, LearnerSpec
from softtf.machine import Precision
from softtf.store import (
    decode_label,
    encode_label,
    inside,
    load_tensors,
    map_tensors,
    require,
    save_tensors,
    write_atomic,
)
from softtf.training import TrainConfig

MaskPlace = Literal["memory", "disk"]
FORMAT = 1
HEADER = "learner.json"


@dataclass(frozen=True)
class Header:
    """What `learner.json` says: everything but the tasks; and how many those are, once no more are to come.

    train, inference, precision: how it learns on and answers, as given to `ContinualClassifier`. None of the first two
    means the learner's defaults; headers of earlier versions have none of the three.
    """

    backbone: BackboneSpec
    backbone_sha256: str
    learner: LearnerSpec
    seed: int
    allow_repeated: bool
    tasks: int | None = None
    train: TrainConfig | None = None
    inference: str | None = None
    precision: Precision = "float32"

    def write(self, folder: Path) -> None:
        """Write learner.json."""
        content = {"format": FORMAT, **to_dict(self)}
        write_atomic(folder / HEADER, json.dumps(content, indent=2))

    @classmethod
    def read(cls, folder: Path) -> "Header":
        """Read learner.json.

        Raises:
            UserError: it is missing, broken, or of a newer format.
        """
        content = _read_json(folder / HEADER)
        if content.pop("format", None) != FORMAT:
            raise UserError(f"{folder / HEADER} has a format that this softtf does not know; it knows format {FORMAT}")
        return from_dict(cls, content, HEADER)


def save_task(folder: Path, learner: Learner, classes: ClassTable, task: int) -> None:
    """Save one finished task; with the newest task also what all tasks share, as it is after it."""
    number = f"{task + 1:03d}"
    files: dict[str, Mapping[str, Tensor]] = {f"task-{number}.safetensors": learner.task_state_dict(task)}
    if task == learner.num_tasks - 1 and (shared := learner.shared_state_dict()):
        files[f"shared-{number}.safetensors"] = shared
    content = {
        "name": classes.names[task],
        "classes": [encode_label(label) for label in classes.tasks[task]],
        "files": {name: save_tensors(folder / name, tensors) for name, tensors in files.items()},
    }
    write_atomic(folder / f"task-{number}.json", json.dumps(content, indent=2))


def save_learner(folder: Path, header: Header, learner: Learner, classes: ClassTable) -> None:
    """Write a whole learner into a folder that is new or empty; it is there whole or not at all.

    Raises:
        UserError: the folder holds something, a label cannot be written, or the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; choose another folder")
    for label in classes.labels:
        encode_label(label)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        tasks = len(classes.tasks)
        replace(header, tasks=tasks).write(unfinished)
        for task in range(tasks):
            save_task(unfinished, learner, classes, task)
        unfinished.chmod(0o777 & ~_umask())
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _umask() -> int:
    """Return the process's umask, which mkdtemp does not go by."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def saved_tasks(folder: Path) -> int:
    """Return how many tasks a folder holds.

    Raises:
        UserError: a task in the middle is missing.
    """
    count = 0
    while (folder / f"task-{count + 1:03d}.json").exists():
        count += 1
    numbers = {p.name: int(p.stem[5:]) for p in folder.glob("task-*.json") if p.stem[5:].isdecimal()}
    later = sorted(name for name, number in numbers.items() if number > count)
    if later:
        raise UserError(f"{folder} lacks task-{count + 1:03d}.json but has {later[0]}; it is not a whole learner")
    return count


def load_learner(
    folder: Path,
    backbone_of: Callable[[BackboneSpec], Backbone],
    tasks: int | None = None,
    strict: bool = True,
    masks: MaskPlace = "memory",
) -> tuple[Header, Learner, ClassTable]:
    """Load a learner, or what it was after its first `tasks` tasks.

    Args:
        folder: as `save_task` filled it.
        backbone_of: gives the backbone that the header names.
        tasks: how many tasks to load; None for all.
        strict: refuse a task whose tensors are there but whose json is not (a crash while saving leaves that).
        masks: `disk` leaves them in their files, mapped: memory is used as tasks are, and the folder must stay.

    Raises:
        UserError: a file is missing, has another hash, name or shape, lies outside the folder, is a pickle; or
            the backbone's weights are others than those it was learned on.
    """
    if masks not in ("memory", "disk"):
        raise unknown("place for masks", str(masks), ["memory", "disk"])
    header = Header.read(folder)
    count = saved_tasks(folder)
    if header.tasks is not None and count != header.tasks:
        raise UserError(f"{folder} lacks task-{count + 1:03d}.json; it was saved with {header.tasks} tasks")
    if strict and (folder / f"task-{count + 1:03d}.safetensors").exists():
        raise UserError(f"{folder} has task-{count + 1:03d}.safetensors but no task-{count + 1:03d}.json beside it")
    if tasks is not None and not 0 <= tasks <= count:
        raise UserError(f"{folder} holds {count} tasks; {tasks} cannot be loaded")
    backbone = backbone_of(header.backbone)
    found = backbone.weights_hash()
    if found != header.backbone_sha256:
        raise UserError(
            f"{folder} was learned on other weights of {header.backbone.name!r}: SHA {header.backbone_sha256[:12]}...,"
            f" these have {found[:12]}...; give the backbone it was learned on"
        )
    learner = header.learner.new_learner(backbone, header.seed)
    if masks == "disk":
        for slots in learner.slot_modules().values():
            slots.keep_on_disk()
    classes = ClassTable(header.allow_repeated)
    wanted = count if tasks is None else tasks
    for task in range(wanted):
        _load_task(folder, learner, classes, task, map_tensors if masks == "disk" else load_tensors)
    if wanted:
        _load_shared(folder, learner, wanted - 1)
    learner.to(next(backbone.parameters()).device)
    return header, learner, classes


def _load_task(
    folder: Path,
    learner: Learner,
    classes: ClassTable,
    task: int,
    read: Callable[[Path, str], dict[str, Tensor]],
) -> None:
    name, labels, files = _read_task(folder, task)
    path, sha256 = files[f"task-{task + 1:03d}.safetensors"]
    state = read(path, sha256)
    learner.begin_task(len(labels))
    trained = learner.task_state_dict(task)
    learner.end_task()
    finished = learner.task_state_dict(task)
    for slots in learner.slot_modules().values():
        slots.drop_task()
    # An earlier version packed no masks: what it saved has the form of a task in training, and is kept as it is.
    require(state, trained if state.keys() == trained.keys() else finished, str(path))
    learner.load_task(state)
    classes.add(labels, name)


def _load_shared(folder: Path, learner: Learner, last: int) -> None:
    """Load what all tasks share as it was after task `last`."""
    shared = learner.shared_state_dict()
    _, _, files = _read_task(folder, last)
    if f"shared-{last + 1:03d}.safetensors" not in files:
        if not shared and not learner.statistics:
            return
        raise UserError(f"{folder} has no shared state as of task {last + 1}; load all its tasks")
    path, sha256 = files[f"shared-{last + 1:03d}.safetensors"]
    values = load_tensors(path, sha256)
    require({k: v for k, v in values.items() if not k.startswith(MEMORY)}, shared, str(path))
    learner.load_shared(values)


def _read_task(folder: Path, task: int) -> tuple[str, tuple[Hashable, ...], dict[str, tuple[Path, str]]]:
    """Return a task's name, classes and files with their hashes, as its json says."""
    number = f"{task + 1:03d}"
    where = f"task-{number}.json"
    content = _read_json(folder / where)
    try:
        name, files = str(content["name"]), dict(content["files"])
        labels: tuple[Hashable, ...] = tuple(decode_label(value) for value in content["classes"])
        paths = {key: (inside(folder, key), str(sha)) for key, sha in files.items()}
        paths[f"task-{number}.safetensors"]
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / where} is not a task of a softtf learner: {error} is missing or wrong") from None
    return name, labels, paths


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return content

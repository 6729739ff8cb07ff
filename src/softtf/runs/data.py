"""Check that a run gets the data that it learned. data.json in its folder identifies them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.files.plain_json import fits, read_object
from softtf.runs.folder import RunFolder
from softtf.streams import TaskStream, difference, local_path
from softtf.streams.identity import identity

DATA = "data.json"
PARTS = {"train": "training data", "test": "test data"}
FORM = {"tasks": [dict.fromkeys(PARTS, (None, {"examples": int}))]}


def identities(stream: TaskStream) -> dict[str, Any]:
    """Return what identifies the training and test data of every task, for data.json."""
    return {
        "tasks": [
            {
                "name": task.name,
                "train": identity(task.train),
                "test": None if task.test is None else identity(task.test),
            }
            for task in stream
        ]
    }


def check_there(path: Path, source: str) -> None:
    """Refuse a run whose data are no longer in their place.

    Raises:
        UserError: they are not there.
    """
    if os.path.isabs(source) and not local_path(source).exists():
        raise UserError(f"the data of {path} are no longer at {source}; if they were moved, say where with --source")


def check_data(
    folder: RunFolder, stream: TaskStream, source: str, finished: int, note: Callable[[str], object]
) -> None:
    """Refuse other data than those of the run's finished tasks; a change in later tasks is noted.

    Runs of earlier versions have no data.json and are not checked.

    Args:
        folder: the run's.
        stream: the data as they are now.
        source: the name of the data in messages.
        finished: the number of finished tasks.
        note: called with a line for each change in a task that was not learned yet.

    Raises:
        UserError: the data differ, or data.json cannot be read.
    """
    file = folder.path / DATA
    if not file.exists():
        return
    try:
        before = read_object(file)
        if not fits(before, FORM):
            raise UserError(f"{file} cannot be read: it does not identify the data")
    except UserError as error:
        raise UserError(f"{error}; remove it to go on without checking the data") from None
    changes = [(*key, words) for key, words in _changes(before["tasks"], stream)]
    trained = finished + _half_trained(folder, finished)
    for index, part, words in changes:
        scored = part == "test" and folder.scores.has(index)
        if scored or (part == "train" and index < trained):
            raise UserError(
                f"{source}: the data have changed since {folder.path} learned them: the {PARTS[part]} of task"
                f" {index + 1} have {words}; give the same data, and if they were moved, say where with --source"
            )
        note(f"the {PARTS[part]} of task {index + 1} have {words} than when the run began; it was not used yet")


def _half_trained(folder: RunFolder, task: int) -> bool:
    """Return whether the checkpoint has epochs of a task."""
    try:
        return folder.load_checkpoint(task) is not None
    except UserError:  # a damaged one is not
        return False


def _changes(before: list[Any], stream: TaskStream) -> list[tuple[tuple[int, str], str]]:
    """Return the parts that differ (a task's index, and `train` or `test`), each with the difference in words."""
    found = []
    for index, (old, task) in enumerate(zip(before, stream, strict=False)):
        for part, examples in (("train", task.train), ("test", task.test)):
            if examples is None or old[part] is None:
                continue
            if (words := difference(old[part], identity(examples))) is not None:
                found.append(((index, part), words))
    return found

"""task-NNN.json: a task's name, its classes and its record (`softtf.learners.class_table.Record`); files' hashes."""

import re
from collections.abc import Hashable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.files.label_json import decode_label, encode_label
from softtf.files.plain_json import fits
from softtf.learners.class_table import ClassTable, Record
from softtf.learners.descent import LONGEST
from softtf.saving.manifest import Manifest, seal, task_json

KEY = re.compile("[0-9a-f]{16}")
MOST = 100_000
"""The most ancestors of a task, and the most lines of what it holds of removed ones."""


def task_text(classes: ClassTable, task: int, files: dict[str, str]) -> str:
    """Return the JSON of a task whose tensors are in these files, with their hashes."""
    labels, record = [encode_label(label) for label in classes.tasks[task]], classes.records[task]
    known = {name: value for name, value in asdict(record).items() if value not in (None, ())}
    if record.key is None:  # put into the table by hand: nothing is known of its descent
        del known["place"]
    return seal({"name": classes.names[task], "classes": labels, **known, "files": files})


def read_task(manifest: Manifest, task: int) -> tuple[tuple[Hashable, ...], str, Record]:
    """Return a task's classes, its name, and its record, as its json says."""
    path = manifest.path(task_json(task))[0]
    content = manifest.json(task_json(task))
    if not fits(content, {"name": str, "classes": list}):
        raise UserError(f"{path} is not a task of a softtf learner: its name or classes are wrong")
    classes = tuple(decode_label(value) for value in content["classes"])
    learned, examples = content.get("learned"), content.get("examples")
    if not fits(learned, (str, None)) or not fits(examples, ([int], None)) or len(examples or classes) != len(classes):
        raise UserError(f"{path} is not a task of a softtf learner: when it was learned, or from how much, is wrong")
    accuracy, tested = content.get("accuracy"), content.get("tested")
    if (accuracy, tested) != (None, None) and not _is_accuracy(accuracy, tested):
        raise UserError(f"{path} is not a task of a softtf learner: its accuracy is wrong")
    record = Record(learned, None if examples is None else tuple(examples), accuracy, tested, **_descent(content, path))
    return classes, content["name"], record


def _descent(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what a task's json says of its descent; earlier versions wrote nothing of it."""
    if not content.keys() & {"key", "place", "shaped_by", "gone"}:
        return {}
    found = {"shaped_by": [], "gone": []} | content
    form = {"key": str, "place": int, "shaped_by": [[str]], "gone": [str]}
    right = fits(found, form) and KEY.fullmatch(found["key"]) and 0 <= found["place"] < 2**31
    right = right and max(len(found["shaped_by"]), len(found["gone"])) <= MOST
    right = right and all(len(one) == 2 and KEY.fullmatch(one[0]) for one in found["shaped_by"])
    if not right or any(len(line) > LONGEST for line in found["gone"]):
        raise UserError(f"{path} is not a task of a softtf learner: what its parameters come from is wrong")
    return {
        "key": found["key"],
        "place": found["place"],
        "shaped_by": tuple(map(tuple, found["shaped_by"])),
        "gone": tuple(found["gone"]),
    }


def _is_accuracy(accuracy: Any, tested: Any) -> bool:
    return fits(accuracy, float) and fits(tested, int) and 0 <= accuracy <= 100 and tested > 0

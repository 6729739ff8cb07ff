"""task-NNN.json: what a task is called, its classes, when, from how much and how well it was learned; files' hashes."""

from collections.abc import Hashable
from dataclasses import asdict
from typing import Any

from softtf.errors import UserError
from softtf.files.label_json import decode_label, encode_label
from softtf.files.plain_json import fits
from softtf.learners.class_table import ClassTable, Record
from softtf.saving.manifest import Manifest, seal, task_json


def task_text(classes: ClassTable, task: int, files: dict[str, str]) -> str:
    """Return the JSON of a task whose tensors are in these files, with their hashes."""
    labels, record = [encode_label(label) for label in classes.tasks[task]], classes.records[task]
    known = {name: value for name, value in asdict(record).items() if value is not None}
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
    return classes, content["name"], Record(learned, None if examples is None else tuple(examples), accuracy, tested)


def _is_accuracy(accuracy: Any, tested: Any) -> bool:
    return fits(accuracy, float) and fits(tested, int) and 0 <= accuracy <= 100 and tested > 0

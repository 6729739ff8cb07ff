"""A learner on disk: one small safe file per task, and exact reload.

    learner.json            backbone (by name and hash), learner, seed, how to train and to answer; written before the
                            first task
    task-001.safetensors    the parameters of task 1, in the form in which finished ones are kept in memory too, and
                            what it added to sums
    shared-001.safetensors  what all tasks share, as it was after task 1 (a run keeps one per task, else the last)
    task-001.json           classes, files and hashes; in a run written last, so a task exists once this file does
    manifest.json           the hash of every file; written last, after the last task (`softtf.saving.manifest`)
    README.md               a card for people, which is no part of the learner (`softtf.saving.card`)

Every file is written to a temporary name and moved, and none is ever changed: a crash loses at most the
task that was being saved, and a run's learner can be loaded as it was after any task.
"""

from pathlib import Path

from torch import Tensor

from softtf.errors import UserError
from softtf.files.label_json import encode_label
from softtf.files.lock import check_ours
from softtf.files.tensors import (
    save_tensors,
    tensor_bytes,
    write_atomic,
)
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.saving.header import Header
from softtf.saving.manifest import (
    HEADER,
    MANIFEST,
    Manifest,
    shared_tensors,
    task_json,
    task_tensors,
)
from softtf.saving.shares import task_tensors_of
from softtf.saving.task import read_task, task_text
from softtf.saving.versions import new_version
from softtf.saying import warn


def save_task(folder: Path, learner: Learner, classes: ClassTable, task: int) -> None:
    """Save one finished task; with the newest task also what all tasks share, as it is after it.

    Raises:
        UserError: a file cannot be written, the folder's lock was lost (`check_ours`), or the learner remembers what
            its `memory_forms` do not declare.
    """
    check_ours(folder / MANIFEST)
    assert not (folder / MANIFEST).exists()
    files = {task_tensors(task): save_tensors(folder / task_tensors(task), task_tensors_of(learner, task))}
    if task == learner.num_tasks - 1 and (shared := _shared(learner, classes)):
        files[shared_tensors(task)] = save_tensors(folder / shared_tensors(task), shared)
    write_atomic(folder / task_json(task), task_text(classes, task, files))


def _shared(learner: Learner, classes: ClassTable) -> dict[str, Tensor]:
    """Return what all tasks share; refuse, with a UserError, what could not be loaded again."""
    shared = learner.shared_state_dict()
    learner.check_shared(shared, classes.column_labels(), f"{learner.method} cannot be saved")
    return shared


def finish_saving(folder: Path) -> None:
    """Write the manifest of a learner that was saved task by task, once no more tasks are to come."""
    Manifest.read(folder).write()


def save_learner(
    folder: Path,
    header: Header,
    learner: Learner,
    classes: ClassTable,
    replace: bool = False,
    sign: bytes | None = None,
    known: frozenset[str] = frozenset(),
    keep_versions: int = 0,
) -> str:
    """Write a whole learner into a folder; it is there whole or not at all, and a learner there before it likewise.

    Args:
        folder: new or empty, or with `replace` a learner's.
        header: of the learner.
        learner: what to save.
        classes: its classes.
        replace: whether the learner that the folder holds is to be replaced.
        sign: the key to sign it with; None for no signature.
        known: the identities of the versions that it was loaded from, or saved as; another learner is not replaced
            without a warning.
        keep_versions: how many earlier versions stay in the folder.

    Returns:
        the identity of what is saved.

    Raises:
        UserError: the folder holds something else, a label cannot be written, or the disk is full.
    """
    for label in classes.labels:
        encode_label(label)
    with new_version(folder, replace) as version:
        if version.old and version.old.identity not in known and (words := _another(version.old, header, classes)):
            warn(f"{folder} held {words}; it is replaced")
        version.add(HEADER, header.text(manifest=True).encode())
        last = len(classes.tasks) - 1
        for task in range(last + 1):
            own = {task_tensors(task): version.add(task_tensors(task), tensor_bytes(task_tensors_of(learner, task)))}
            version.add(task_json(task), task_text(classes, task, own).encode())
        if last >= 0 and (shared := _shared(learner, classes)):
            version.add(shared_tensors(last), tensor_bytes(shared))
        return version.finish(sign, keep_versions)


def _another(old: Manifest, header: Header, classes: ClassTable) -> str:
    """Return what a folder holds if that is no earlier version of the learner of this header and these classes."""
    try:
        before = Header.read(old)
        tasks = [read_task(old, task)[0] for task in range(old.tasks)]
    except UserError as error:
        return f"a damaged learner ({error})"
    if not before.differing(header) and tasks == [tuple(labels) for labels in classes.tasks[: len(tasks)]]:
        return ""
    return f"another learner, a {before.learner.kind} of {len(tasks)} tasks"

"""Loading a learner: whole, or as it was after any of its tasks; every file that is used is checked first."""

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from softtf.adaptations.hot import HotSlots
from softtf.adaptations.quantised import LargeAdaptation
from softtf.backbones.base import Backbone
from softtf.backbones.load import BackboneSpec
from softtf.devices.memory import needs_memory
from softtf.errors import UserError
from softtf.files.tensor_form import require
from softtf.files.tensors import check_file, load_tensors, map_tensors
from softtf.learners.base import Learner
from softtf.learners.changes import keep_tasks
from softtf.learners.class_table import ClassTable
from softtf.learners.descent import begun
from softtf.learners.knowledge import Finished
from softtf.learners.shares import Shares
from softtf.saving.header import Header
from softtf.saving.manifest import MANIFEST, Manifest, shared_tensors, task_json, task_tensors
from softtf.saving.shares import put_shares, split, take_old_sums
from softtf.saving.task import read_task


@needs_memory("load the learner")
def load_learner(
    folder: Path,
    backbone_of: Callable[[BackboneSpec], Backbone],
    tasks: int | None = None,
    strict: bool = True,
    memory_limit: int | None = None,
    verify: bytes | None = None,
) -> tuple[Header, Learner, ClassTable]:
    """Load a learner, or what it was after its first `tasks` tasks.

    Every file that is used is checked against its hash first; with `tasks` None every file of the learner is. If
    another version replaces it meanwhile, one of the two is loaded, whole.

    Args:
        folder: as `save_task` or `save_learner` filled it.
        backbone_of: returns the backbone that the header names.
        tasks: how many tasks to load; None for all.
        strict: refuse a task whose tensors are there but whose json is not (a crash while saving leaves that).
        memory_limit: the most bytes of masks in memory. With a limit they stay in their files, mapped, and those that
            answered last have copies in memory. Nobody may change the files. None loads all masks.
        verify: the key that the learner must be signed with; None asks for no signature.

    Raises:
        UserError: a file is missing, has another hash, name or shape, lies outside the folder, is a pickle; or
            the backbone's weights are others than those it was learned on; or it is not signed with the key.
    """
    while True:
        manifest = Manifest.read(folder, verify)
        try:
            return _load(manifest, backbone_of, tasks, strict, memory_limit)
        except UserError:
            if Manifest.read(folder, verify).parts == manifest.parts:
                raise  # else another version has taken its place meanwhile


def _load(
    manifest: Manifest,
    backbone_of: Callable[[BackboneSpec], Backbone],
    tasks: int | None,
    strict: bool,
    memory_limit: int | None,
) -> tuple[Header, Learner, ClassTable]:
    folder, count = manifest.folder, manifest.tasks
    header = Header.read(manifest)
    if strict and not (folder / MANIFEST).exists() and (folder / task_tensors(count)).exists():
        raise UserError(f"{folder} has {task_tensors(count)} but no {task_json(count)} beside it")
    if tasks is not None and not 0 <= tasks <= count:
        raise UserError(f"{folder} holds {count} tasks; {tasks} cannot be loaded")
    kept_shared = [task for task in range(count) if shared_tensors(task) in manifest.parts]
    if tasks and tasks < count and kept_shared == [count - 1]:  # `save_learner` keeps the last one
        return _rolled_back(_load(manifest, backbone_of, None, strict, memory_limit), folder, tasks)
    backbone = backbone_of(header.backbone)
    found = backbone.weights_hash()
    if found != header.backbone_sha256:
        raise UserError(
            f"{folder} was learned on other weights of {header.backbone.name!r}: SHA {header.backbone_sha256[:12]}...,"
            f" these have {found[:12]}...; give the backbone it was learned on"
        )
    learner = _without_tasks(header, backbone, memory_limit)
    classes = ClassTable(header.allow_repeated)
    wanted = count if tasks is None else tasks
    for task in range(wanted):
        _load_task(manifest, learner, classes, task, load_tensors if memory_limit is None else map_tensors)
    if wanted:
        _load_shared(manifest, learner, classes.column_labels(), wanted - 1)
    if tasks is None:
        for task in range(wanted - 1):  # what was shared after earlier tasks is not used, but is part of it
            if shared_tensors(task) in manifest.parts:
                check_file(*manifest.path(shared_tensors(task)))
    learner.to(next(backbone.parameters()).device)
    return header, learner, classes


def _rolled_back(
    whole: tuple[Header, Learner, ClassTable], folder: Path, tasks: int
) -> tuple[Header, Learner, ClassTable]:
    """Return a learner as it was after its first tasks, if what they share follows from their own parts."""
    header, learner, classes = whole
    try:
        (learner, classes), _ = keep_tasks(Finished(learner, classes), range(tasks), leave_traces=False)
    except UserError:
        raise UserError(f"{folder} has no shared state as of task {tasks}; load all its tasks") from None
    return header, learner, classes


def _without_tasks(header: Header, backbone: Backbone, memory_limit: int | None) -> Learner:
    learner = header.learner.new_learner(backbone, header.seed)
    if memory_limit is not None:
        hot = HotSlots(memory_limit)
        for slots in learner.slot_modules().values():
            if isinstance(slots, LargeAdaptation):
                slots.hot = hot
    return learner


def as_after_each_task(
    folder: Path, header: Header, learner: Learner, memory_limit: int | None = None
) -> Iterator[Learner]:
    """Yield a learner as it was after each of its tasks, from the first on: one object that gains a task each time.

    What tasks share is read from the folder; their own parameters are those of `learner`, which is used up by that.

    Args:
        folder: of a run's learner, which keeps what tasks share as it was after each.
        header: of the learner.
        learner: as it was loaded, with all tasks that are wanted.
        memory_limit: as for `load_learner`.

    Raises:
        UserError: a file is missing or damaged.
    """
    manifest, backbone = Manifest.read(folder), learner.network.backbone
    growing, classes = _without_tasks(header, backbone, memory_limit), ClassTable(header.allow_repeated)
    apart = learner.shares.apart()
    for task in range(learner.num_tasks):
        growing.shares = Shares(apart.tasks[:task])  # sums of several tasks in one are read again with each
        growing.load_task(learner.task_state_dict(task), apart.tasks[task])
        classes.add(*read_task(manifest, task))
        if learner.one_sum:
            file, sha256 = manifest.path(task_tensors(task))
            put_shares(growing, split(load_tensors(file, sha256))[1], classes.column_labels(), str(file))
        _load_shared(manifest, growing, classes.column_labels(), task)
        yield growing.to(next(backbone.parameters()).device)


def _load_task(
    manifest: Manifest,
    learner: Learner,
    classes: ClassTable,
    task: int,
    read: Callable[[Path, str], dict[str, Tensor]],
) -> None:
    labels, name, record = read_task(manifest, task)
    path, sha256 = manifest.path(task_tensors(task))
    state, shares = split(read(path, sha256))
    trained, finished = learner.task_forms(len(labels))
    # An earlier version quantised no masks: what it saved has the form of a task in training, and is kept as it is.
    require(state, trained if state.keys() == trained.keys() else finished, str(path))
    learner.load_task(state)
    if record.key is None:  # an earlier version saved it: it started from the task before it, if any did
        record = begun(learner, classes, labels, name, record)
    classes.add(labels, name, record)
    if earlier := put_shares(learner, shares, classes.column_labels(), str(path)):
        _load_old_sums(manifest, learner, earlier, classes.column_labels())


def _load_old_sums(manifest: Manifest, learner: Learner, tasks: range, labels: Tensor) -> None:
    """Load the sums of tasks that an earlier version kept with what they share."""
    path, sha256 = manifest.path(shared_tensors(tasks.stop - 1))
    take_old_sums(learner, load_tensors(path, sha256), tasks, labels, str(path))
    if not learner.shares.tasks[tasks.stop - 1]:
        raise UserError(f"{path} lacks the sums of task {tasks.stop}, and so does the task's own file")


def _load_shared(manifest: Manifest, learner: Learner, labels: Tensor, last: int) -> None:
    """Load what all tasks share as it was after task `last`; labels: the label number of each logit column."""
    if shared_tensors(last) in manifest.parts:
        path, sha256 = manifest.path(shared_tensors(last))
        values = take_old_sums(learner, load_tensors(path, sha256), learner.shares.missing, labels, str(path))
        learner.check_shared(values, labels, str(path))
        learner.load_shared(values)
    else:
        try:
            learner.check_shared({}, labels, "")
        except UserError:
            reason = f"{manifest.folder} has no shared state as of task {last + 1}; load all its tasks"
            raise UserError(reason) from None
    if (missing := learner.shares.missing) and learner.all_share_forms(missing, labels):
        raise UserError(f"{manifest.folder} lacks what task {last + 1} added to sums; it is not a whole learner")

"""Changes to learned tasks: keep, remove, forget by class, rename and merge.

Each function returns a new learner and leaves the given one as it is. Those that remove something also return its
traces: what still holds something of the tasks that are gone.
"""

from collections.abc import Hashable, Mapping, Sequence

import torch

from softtf.errors import UserError
from softtf.files.label_json import decode_label, encode_label
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.descent import Trace, close_up, in_words, write_down
from softtf.learners.knowledge import Finished
from softtf.learners.parts import Part, assembled, chosen, fitted_beside, parts_of, traces

Changed = tuple[Finished, list[str]]


def keep_tasks(finished: Finished, tasks: Sequence[int], leave_traces: bool) -> Changed:
    """Return a learner of some tasks, in the order given.

    Raises:
        UserError: a task is named twice; the method keeps all tasks in one sum; or the removed tasks would leave
            traces, and `leave_traces` is False.
    """
    if len(set(tasks)) < len(tasks):
        raise UserError("a task is named twice; name each task that is to be kept once")
    gone = [task for task in range(len(finished.classes.tasks)) if task not in tasks]
    found = chosen(finished, tasks)
    left = _allowed(finished, gone, traces(finished, gone, tasks), leave_traces) + fitted_beside(finished, gone, tasks)
    if not left:
        close_up(found.classes, finished.classes)
    write_down(found.classes, tasks, left, {task: f"task {finished.classes.names[task]!r} (removed)" for task in gone})
    return found, in_words(left)


def forget_labels(finished: Finished, labels: Sequence[Hashable], leave_traces: bool) -> Changed:
    """Return the learner without some classes; a task left without classes is removed.

    Raises:
        UserError: a label was never learned, or as for `keep_tasks`. What a task trained on several classes together is
            a trace of each of them.
    """
    learner, classes = finished
    for label in labels:
        classes.number(label)
    touched = [t for t, own in enumerate(classes.tasks) if not set(own).isdisjoint(labels)]
    whole = [t for t in touched if set(classes.tasks[t]) <= set(labels)]
    some = [t for t in touched if t not in whole]
    parts = parts_of(finished)
    kept = [t for t in range(len(parts)) if t not in whole]
    left = traces(finished, touched, kept)
    left += [Trace(task, words, (task,)) for task in some for words in _held(learner, parts[task], task)]
    found = chosen(finished, kept, labels)
    left = _allowed(finished, touched, left, leave_traces) + fitted_beside(finished, touched, kept)
    if not left:
        close_up(found.classes, classes)
    write_down(found.classes, kept, left, {task: _removed(classes, task, labels) for task in touched})
    return found, in_words(left)


def _removed(classes: ClassTable, task: int, labels: Sequence[Hashable]) -> str:
    """Return, in words, what goes of a task if some labels are forgotten."""
    name, gone = classes.names[task], [label for label in classes.tasks[task] if label in labels]
    if len(gone) == len(classes.tasks[task]):
        return f"task {name!r} (removed)"
    listed = ", ".join(map(repr, gone[:5])) + (", ..." if len(gone) > 5 else "")
    return f"{listed} of task {name!r} (forgotten)"


def _held(learner: Learner, part: Part, task: int) -> list[str]:
    """Return, in words, what of a part came from all its classes together."""
    name, modules = part.name, learner.slot_modules()
    trained = learner.trained_by_steps
    own = [n for n, slots in modules.items() if trained and slots.num_parameters(task)]
    held = [f"the {'classifier of its other classes' if n == 'head' else n} of task {name!r}" for n in own]
    sums = [owner for owner in part.shares if not learner.by_class(owner)]
    return held + [f"the sums of task {name!r} over all its classes{f' ({owner})' if owner else ''}" for owner in sums]


def _allowed(finished: Finished, gone: Sequence[int], left: list[Trace], leave_traces: bool) -> list[Trace]:
    if left and not leave_traces:
        names = ", ".join(repr(finished.classes.names[task]) for task in gone[:5])
        raise UserError(
            f"what is to go of task {names} also shaped {'; '.join(in_words(left))}. leave_traces=True"
            " (--leave-traces) takes out the rest; to leave nothing, learn all that it shaped again without it"
        )
    return left


def renamed(finished: Finished, labels: Mapping[Hashable, Hashable], tasks: Mapping[int, str]) -> Finished:
    """Return the learner with other names for some labels and tasks; no tensor changes.

    Raises:
        UserError: a label was never learned, a new one cannot be saved, or two labels would be the same.
    """
    learner, classes = finished
    for label in labels:
        classes.number(label)
    labels = {old: decode_label(encode_label(new)) for old, new in labels.items()}
    new = [labels.get(label, label) for label in classes.labels]
    if len(set(new)) < len(new):
        twice = next(label for label in new if new.count(label) > 1)
        raise UserError(f"two classes would be called {twice!r}; give each a name of its own")
    table = ClassTable(classes.allow_repeated)
    for task, own in enumerate(classes.tasks):
        name = tasks.get(task, classes.names[task])
        table.add([labels.get(label, label) for label in own], name, classes.records[task])
    return Finished(learner, table)


def merged(one: Finished, other: Finished) -> Finished:
    """Return a learner of the tasks of both, one's first; a part that both have, bit for bit, is kept once.

    Raises:
        UserError: both have a label, and repeated labels are not allowed; or what their tasks share differs.
    """
    mine, its = one.learner, other.learner
    new = [part for part in parts_of(other) if not any(part.same(known) for known in parts_of(one))]
    parts = [*parts_of(one), *new]
    for learner, classes in (one, other):
        if names := learner.undivided_statistics:
            raise UserError(f"the statistics of {names[0]} keep all tasks as one sum, so learners cannot be merged")
        lumps = [task for task in range(len(classes.tasks)) if len(learner.shares.covered(task)) > 1]
        if lumps and learner is its and len(new) < len(classes.tasks):
            raise UserError("both learners know a task, among others whose sums are kept as one with its own")
    if one.classes.tasks and other.classes.tasks:
        _check_shared(mine, its)
        first_only = [name for name, slots in mine.slot_modules().items() if slots.first_only]
        readers = [name for name, slots in mine.slot_modules().items() if slots.reads_earlier]
        if readers and new:
            raise UserError(f"a task reads the {readers[0]} of all tasks before it, so learners cannot be merged")
        if first_only and not parts_of(one)[0].same(parts_of(other)[0]):
            raise UserError(f"all tasks read the {first_only[0]} of the first; merge learners that have one first task")
    return assembled(one, parts)


def _check_shared(mine: Learner, its: Learner) -> None:
    """Raise UserError if the learners differ in what all tasks share."""
    shared = {name: parameter.detach() for name, parameter in its.shared_parameters()}
    values = {n: p.detach() for n, p in mine.shared_parameters() if n in mine.trained_by(0)}
    differ = [n for n, value in values.items() if n not in shared or not torch.equal(value, shared[n].to(value.device))]
    if differ:
        what = ", ".join(sorted({name.split(".")[0] for name in differ}))
        raise UserError(
            f"all tasks share the {what}, and each learner trained it in its own way; merge learners that continue one"
            " saved learner with it frozen (freeze_g_after_first), or learn the tasks one after another"
        )
    for name in mine.common:
        ours, theirs = mine.memory[name], its.memory[name]
        if not torch.allclose(ours, theirs.to(ours), rtol=1e-5, atol=1e-6):
            raise UserError(f"the learners differ in {name}, which all tasks share; give it in the settings of both")

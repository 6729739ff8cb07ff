"""Parts: everything that a learner holds of one task; a part can be taken out or put in.

Every change of what is known is a choice of parts. A part never changes, and nothing here changes a learner:
`assembled` makes a new learner from the given parts, and sets what follows from their shares anew (`Learner.settle`).
Everything else that tasks share stays as it is; `traces` says which of it still holds something of a task.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from softtf.adaptations.slots import TaskSlots
from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable, Record
from softtf.learners.descent import Trace, key_of, lineages, rekeyed, shortened
from softtf.learners.knowledge import Finished
from softtf.learners.shares import Shares, TaskShares


@dataclass(frozen=True)
class Part:
    """What a learner holds of one task.

    Attributes:
        name: the task's name.
        classes: its labels, in the order of their columns.
        record: when it was learned, and so on; with all ancestors (`lineages`).
        state: its parameters, named as in `LearnerState.task_state_dict`.
        shares: what it added to sums.
        shared: modules whose parameters later tasks change, or that are solved anew; the task owns nothing in them.
    """

    name: str
    classes: tuple[Hashable, ...]
    record: Record
    state: Mapping[str, Tensor]
    shares: TaskShares
    shared: frozenset[str]

    def tensors(self) -> dict[str, Tensor]:
        """Return the task's own tensors by the names under which they are saved."""
        own = {name: value for name, value in self.state.items() if name.split(".")[0] not in self.shared}
        return own | Shares([self.shares]).tensors(0)

    def same(self, other: "Part") -> bool:
        """Return whether two parts are equal, bit for bit."""
        if (self.name, self.classes) != (other.name, other.classes):
            return False
        mine, its = self.tensors(), other.tensors()
        alike = mine.keys() == its.keys()
        return alike and all(torch.equal(value, its[name].to(value.device)) for name, value in mine.items())


def parts_of(finished: Finished) -> list[Part]:
    """Return the parts of all tasks; they share no tensor with the learner that training may change."""
    learner, classes = finished
    shared = frozenset(name for name, slots in learner.slot_modules().items() if slots.retrained)
    found = []
    for task, (labels, lineage) in enumerate(zip(classes.tasks, lineages(classes.records), strict=True)):
        state = learner.task_state_dict(task)
        state = {n: v.clone() if n.split(".")[0] in shared else v for n, v in state.items()}
        record, shares = replace(classes.records[task], shaped_by=lineage), learner.shares.tasks[task]
        found.append(Part(classes.names[task], labels, record, state, shares, shared))
    return found


def assembled(finished: Finished, parts: Sequence[Part]) -> Finished:
    """Return a learner of the same method that knows these parts, in this order.

    Raises:
        UserError: two of them have the same label, and that is not allowed; or the method keeps all tasks in one.
    """
    before, known = finished
    check_divisible(before)
    classes = ClassTable(known.allow_repeated)
    for part in parts:
        classes.add(part.classes, part.name, part.record)
    classes.records[:] = shortened(classes.records)
    learner = before.face()
    learner.go_on()
    learner.shares, learner.shared_before = Shares(), {}
    for slots in learner.slot_modules().values():
        slots.slots = nn.ModuleList()
    for part in parts:
        learner.load_task(part.state, part.shares)
    learner.settle(classes.column_labels())
    return Finished(learner, classes)


def check_divisible(learner: Learner) -> None:
    """Refuse a method whose memory or statistics keep all tasks as one sum; raises UserError."""
    if not learner.divisible:
        names = ", ".join(sorted(learner.memory))[:100]
        raise UserError(
            f"{learner.method} remembers all tasks in one ({names}), so no task can be taken out or put in;"
            " learn the tasks that are wanted again"
        )


def chosen(finished: Finished, tasks: Sequence[int], without: Sequence[Hashable] = ()) -> Finished:
    """Return the learner of some of its tasks, in the order given, without some of their classes.

    Each task keeps a class at least.

    Raises:
        UserError: the method keeps all tasks in one, some of these tasks belong together, or something is not kept by
            class.
    """
    learner, classes = finished
    _check_together(learner, classes, tasks)
    _check_read(learner, classes, tasks)
    check_divisible(learner)
    parts = parts_of(finished)
    some = [task for task in tasks if not set(without).isdisjoint(classes.tasks[task])]
    for task in some:
        parts[task] = without_classes(learner, parts[task], task, without)
    found = assembled(finished, [parts[task] for task in tasks])
    new = {classes.records[t].key: key_of(parts[t].name, parts[t].record, parts[t].classes) for t in some}
    found.classes.records[:] = rekeyed(found.classes.records, new)
    if not tasks:
        found.learner.gathered = {}
    for name in found.learner.undivided_statistics if tasks else ():
        known = learner.statistics[name].of_tasks(learner.gathered[name], tasks)  # type: ignore[operator]
        found.learner.gathered = found.learner.gathered | {name: known}
    return found


def _check_together(learner: Learner, classes: ClassTable, tasks: Sequence[int]) -> None:
    """Refuse to separate tasks whose sums are kept as one."""
    for task in tasks:
        together = learner.shares.covered(task)
        place = list(tasks).index(task) - (task - together.start)
        if len(together) > 1 and list(tasks[max(place, 0) : place + len(together)]) != list(together):
            names = f"{classes.names[together.start]!r} to {classes.names[together.stop - 1]!r}"
            raise UserError(
                f"the sums of tasks {names} are kept as one (sums='one', or an earlier version), so these tasks go"
                " or stay together, in their order; learn them again with sums='task' to separate them"
            )


def _check_read(learner: Learner, classes: ClassTable, tasks: Sequence[int]) -> None:
    """Refuse to take out a task whose parameters others read."""
    for name, slots in learner.slot_modules().items():
        wanted = list(range(len(tasks) if slots.reads_earlier else min(1, len(tasks)) if slots.first_only else 0))
        if list(tasks[: len(wanted)]) != wanted:
            gone = next((task for task in wanted if task not in tasks), 0)
            raise UserError(
                f"the tasks after {classes.names[gone]!r} read its {name}, so it must stay in its place as"
                " long as they do; learn the tasks that are wanted again"
            )


def without_classes(learner: Learner, part: Part, task: int, gone: Sequence[Hashable]) -> Part:
    """Return task `task`'s part without the columns and sums of some of its classes.

    Raises:
        UserError: sums or statistics cannot be separated by class.
    """
    kept = torch.tensor([place for place, label in enumerate(part.classes) if label not in gone])
    if len(learner.shares.covered(task)) > 1:
        raise UserError(f"the sums of task {part.name!r} are kept in one with others' (sums='one')")
    if names := learner.undivided_statistics:
        raise UserError(f"the statistics of {names[0]} are not kept by class; remove the whole task {part.name!r}")
    state = dict[str, Tensor]()
    for name, slots in learner.slot_modules().items():
        own = {n.removeprefix(f"{name}."): v for n, v in part.state.items() if n.startswith(f"{name}.")}
        state |= {f"{name}.{n}": value for n, value in slots.without_classes(own, kept).items()}
    shares = {owner: learner.share_without(owner, share, kept) for owner, share in part.shares.items()}
    counts = part.record.examples
    left = None if counts is None else tuple(counts[i] for i in kept.tolist())
    record = replace(part.record, examples=left, accuracy=None, tested=None)  # these were of all its classes
    classes = tuple(part.classes[i] for i in kept.tolist())
    return replace(part, classes=classes, record=record, state=state, shares=shares)


def traces(finished: Finished, tasks: Sequence[int], kept: Sequence[int]) -> list[Trace]:
    """Return what still holds something of the data of some tasks once their parts, or some of their classes, are gone.

    kept: the tasks of which something stays. Without any, there are no traces: a learner of no tasks is a new one.
    """
    learner, classes = finished
    if not kept:
        return []
    ancestors = [{key for key, _ in lineage} for lineage in lineages(classes.records)]
    modules, found = learner.slot_modules(), []
    for task in tasks:
        record = classes.records[task]
        for name in dict.fromkeys(name.split(".")[0] for name in learner.trained_by(record.place)):
            found.append(Trace(task, f"the {_words(modules[name])}, which it trained and all tasks share", tuple(kept)))
        shaped = tuple(other for other in kept if record.key in ancestors[other])
        for name, slots in modules.items():
            if shaped and slots.starts_from_last and slots.num_parameters(task):
                words = f"the {name} of {_listed(classes, shaped)}, which started from its own"
                found.append(Trace(task, words, shaped))
    return found


def fitted_beside(finished: Finished, tasks: Sequence[int], kept: Sequence[int]) -> list[Trace]:
    """Return what the tasks that stay fitted while tasks that are now removed, in whole or in part, were known."""
    learner, records = finished.learner, finished.classes.records
    later = {task: tuple(t for t in kept if records[t].place > records[task].place) for task in tasks}
    return [
        Trace(task, words, later[task])
        for task in tasks
        if later[task]
        for words in learner.fitted_beside(records[task].place)
    ]


def _listed(classes: ClassTable, tasks: Sequence[int]) -> str:
    names = ", ".join(repr(classes.names[task]) for task in tasks[:5]) + (", ..." if len(tasks) > 5 else "")
    return f"task{'s' if len(tasks) > 1 else ''} {names}"


def _words(slots: TaskSlots) -> str:
    return "classifier" if type(slots).__name__ == "Heads" else type(slots).__name__

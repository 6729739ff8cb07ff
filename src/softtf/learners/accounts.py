"""What a learner knows, which data each thing it holds came from, and how two learners differ."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.files.tensors import checksum
from softtf.learners.class_table import Record
from softtf.learners.descent import ancestors
from softtf.learners.knowledge import Finished
from softtf.learners.parts import Part, parts_of
from softtf.learners.shares import METHOD

SHOWN = 6  # classes of a task in a line


@dataclass(frozen=True)
class TaskDescription:
    """One task.

    Attributes:
        name: the task's name.
        classes: its labels.
        record: when it was learned, from how many examples of each class, and its accuracy then if it was tested.
        parameters: how many parameters it trained of its own.
        bytes: size of its tensors, including its sums.
        hash: hash of these tensors, in hex.
    """

    name: str
    classes: tuple[Hashable, ...]
    record: Record
    parameters: int
    bytes: int
    hash: str


@dataclass(frozen=True)
class Description:
    """What a learner is and knows.

    Attributes:
        method: the method's kind, such as `block-ridge`.
        backbone: the backbone's name.
        backbone_sha256: hash of the backbone's weights.
        tasks: the tasks, in order.
        shared_bytes: size of the tensors that all tasks share.
        hash: hash of all tensors, classes and names, in hex; dates do not count.
    """

    method: str
    backbone: str
    backbone_sha256: str
    tasks: tuple[TaskDescription, ...]
    shared_bytes: int
    hash: str

    @property
    def counted(self) -> str:
        """How many tasks and classes there are, in words; a class of several tasks counts once."""
        return f"{len(self.tasks)} tasks, {len({label for task in self.tasks for label in task.classes})} classes"

    @property
    def gone(self) -> tuple[str, ...]:
        """What is left of tasks and classes that were removed, in words."""
        return _gone(task.record for task in self.tasks)

    @property
    def left(self) -> str:
        """The first lines of `gone` in one; empty if there is none."""
        more = f"; and {len(self.gone) - SHOWN} more" if len(self.gone) > SHOWN else ""
        return "; ".join(self.gone[:SHOWN]) + more

    def text(self) -> str:
        """Return it in lines: the whole, each task, what tasks share, and what is left of removed ones if anything."""
        lines = [f"{self.method} on {self.backbone} ({self.backbone_sha256[:12]}): {self.counted}"]
        for number, task in enumerate(self.tasks, 1):
            more = ", ..." if len(task.classes) > SHOWN else ""
            counts = task.record.examples
            examples = "unknown" if counts is None else f"{sum(counts)}"
            lines.append(f"{number}. {task.name}: {', '.join(map(str, task.classes[:SHOWN]))}{more}")
            lines.append(
                f"   learned {task.record.learned or 'unknown'}, {examples} examples, {len(task.classes)} classes,"
                f" {task.parameters:,} parameters, {shown_bytes(task.bytes)}, {task.hash[:12]}"
            )
            if task.record.accuracy is not None:
                lines.append(f"   {task.record.in_words()}")
        lines.append(f"shared by all tasks: {shown_bytes(self.shared_bytes)}; the whole: {self.hash[:12]}")
        return "\n".join([*lines, f"left of what was removed: {self.left}"] if self.gone else lines)


@dataclass(frozen=True)
class Held:
    """Something that is kept and came from data.

    Attributes:
        what: its name.
        how: how it came from the data, in words.
        tasks: names of the tasks whose data it came from.
        bytes: its size.
    """

    what: str
    how: str
    tasks: tuple[str, ...]
    bytes: int


def describe(finished: Finished, method: str, backbone: str, backbone_sha256: str) -> Description:
    """Describe a learner; method, backbone and backbone_sha256 are as in its header."""
    learner, tasks = finished.learner, []
    modules = learner.slot_modules().values()
    for task, part in enumerate(parts_of(finished)):
        parameters = sum(slots.num_parameters(task) for slots in modules)
        found = _hash(part)
        tasks.append(TaskDescription(part.name, part.classes, part.record, parameters, _bytes(part.tensors()), found))
    shared = learner.shared_state_dict() if tasks else {}
    whole = checksum(shared, method, backbone_sha256, *(task.hash for task in tasks))
    return Description(method, backbone, backbone_sha256, tuple(tasks), _bytes(shared), whole)


def audit(finished: Finished) -> list[Held]:
    """Return everything that a learner holds and that came from training data."""
    learner, classes = finished
    names, held = tuple(classes.names), []
    shared = learner.shared_state_dict() if names else {}
    trained = [set(learner.trained_by(record.place)) for record in classes.records]
    for name in sorted({name.split(".")[0] for one in trained for name in one}):
        own = {n: v for n, v in shared.items() if n.split(".")[0] == name}
        by = tuple(names[t] for t, one in enumerate(trained) if not one.isdisjoint(own))
        held.append(Held(name, "parameters that these tasks trained one after another", by, _bytes(own)))
    if learner.memory:
        how = (
            "follows from the sums below" if learner.divisible else "what the method remembers, exemplars if it has any"
        )
        held.append(Held(f"memory ({', '.join(sorted(learner.memory))})", how, names, _bytes(learner.memory)))
    for name, values in learner.gathered.items():
        divided = name not in learner.undivided_statistics
        held.append(
            Held(name, f"statistics of features{', from the sums below' if divided else ''}", names, _bytes(values))
        )
    before = ancestors(classes)
    for task, part in enumerate(parts_of(finished)):
        held += _of_task(finished, part, task, before[task])
    return held + [Held("trace of what was removed", line, (), 0) for line in _gone(classes.records)]


def _gone(records: Iterable[Record]) -> tuple[str, ...]:
    """Return, in words, what tasks hold of what was removed, each line once."""
    return tuple(dict.fromkeys(line for record in records for line in record.gone))


def _of_task(finished: Finished, part: Part, task: int, before: Sequence[str]) -> list[Held]:
    """Return what a learner holds of one task alone; before: the tasks from whose parameters its own started."""
    learner, classes = finished
    held = [
        Held(
            "task file",
            "the names of the task and of its classes, when and from how much it was learned",
            (part.name,),
            0,
        )
    ]
    for name, slots in learner.slot_modules().items():
        own = {n: v for n, v in part.state.items() if n.startswith(f"{name}.")}
        if slots.retrained or not _bytes(own):
            continue
        others = before if slots.starts_from_last else ()
        how = "trained on its examples, from the last task's on" if others else "trained on its examples"
        if not learner.trained_by_steps:
            how = "solved from the sums of features"
        held.append(Held(name, how, (*others, part.name), _bytes(own)))
    covered = learner.shares.covered(task)
    for owner, share in part.shares.items():
        what = "sums" if owner == METHOD else f"sums of {owner}"
        names = tuple(classes.names[covered.start : covered.stop])
        held.append(
            Held(what, "sums over the features of its examples, none of which is kept", names, _bytes(dict(share)))
        )
    return held


def differences(one: Finished, other: Finished) -> list[str]:
    """Return, in words, how two learners of one method differ in what they know."""
    mine, its = parts_of(one), parts_of(other)
    (twins, equal), found = _twins(mine, its), list[str]()
    for number, part in enumerate(mine):
        if number not in twins:
            found.append(f"only the first has the task {part.name!r} of {len(part.classes)} classes")
        elif number not in equal:
            found.append(f"the task {part.name!r} differs in {_difference(part, its[twins[number]])}")
    new = [part for number, part in enumerate(its) if number not in twins.values()]
    found += [f"only the second has the task {part.name!r} of {len(part.classes)} classes" for part in new]
    if (order := [twins[number] for number in sorted(twins)]) != sorted(order):
        found.append("the tasks are in another order")
    if not found:
        first, second = one.learner.shared_state_dict(), other.learner.shared_state_dict()
        names = [n for n in sorted(first.keys() | second.keys()) if not _same(first.get(n), second.get(n))]
        found += [f"what all tasks share differs in {', '.join(names[:5])}"] if names else []
    return found


def _twins(mine: Sequence[Part], its: Sequence[Part]) -> tuple[dict[int, int], set[int]]:
    """Pair the tasks of two learners: return the second's task for each of the first, and which of the first are equal.

    A task is in one pair at most. Equal tasks are paired first, then those of one name and the same classes, then those
    of the same classes.
    """
    rules: list[Callable[[Part, Part], bool]] = [
        Part.same,
        lambda one, other: (one.name, one.classes) == (other.name, other.classes),
        lambda one, other: one.classes == other.classes,
    ]
    twins, equal, free = dict[int, int](), set[int](), list(range(len(its)))
    for rule in rules:
        for number in (n for n in range(len(mine)) if n not in twins):
            if (twin := next((n for n in free if rule(mine[number], its[n])), None)) is not None:
                twins[number] = twin
                free.remove(twin)
        if rule is rules[0]:
            equal = {*twins}
    return twins, equal


def _difference(one: Part, other: Part) -> str:
    if one.name != other.name:
        return f"its name, {other.name!r} in the second"
    first, second = one.tensors(), other.tensors()
    names = [name for name in sorted(first.keys() | second.keys()) if not _same(first.get(name), second.get(name))]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other.to(one.device))


def _hash(part: Part) -> str:
    return checksum(part.tensors(), part.name, *map(repr, part.classes))


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())


def shown_bytes(count: int) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count:,} bytes"

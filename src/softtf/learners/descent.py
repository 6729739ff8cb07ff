"""Descent: which tasks a task's parameters come from, and what is left of tasks and classes that were removed.

Both are written down when they happen, with the task's record: the places of tasks say nothing once tasks were removed,
reordered or merged.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable, Record

Lineage = tuple[tuple[str, str], ...]
"""Keys and names of tasks."""
LONGEST = 1000
"""The most characters of a line of `Record.gone`."""


@dataclass(frozen=True)
class Trace:
    """What is left of a task, or of some of its classes, once they are removed.

    Attributes:
        task: the task's number before the removal.
        words: what still holds something of it.
        holders: the numbers, before the removal, of the tasks that hold it.
    """

    task: int
    words: str
    holders: tuple[int, ...]


def begun(learner: Learner, classes: ClassTable, labels: Sequence[Hashable], name: str, record: Record) -> Record:
    """Return the record of a task that starts after the tasks of a class table, now or when it was learned.

    Args:
        learner: knows these tasks; it may have the new one too.
        classes: the table of these tasks.
        labels: the new task's classes.
        name: the new task's name.
        record: when it was learned, and from how much.
    """
    known, place = classes.records, 1 + max((one.place for one in classes.records), default=-1)
    found = replace(record, key=key_of(name, record, labels), place=place)
    if not known:
        return found
    last = len(known) - 1
    if any(slots.starts_from_last and slots.num_parameters(last) for slots in learner.slot_modules().values()):
        parent = known[last].key  # None: put into the table by hand, with no record
        shaped_by = lineages(known)[last] if parent is None else ((parent, classes.names[last]),)
        return replace(found, shaped_by=shaped_by, gone=known[last].gone)
    if learner.trained_by(0) or learner.fitted_beside(0):  # what is shared goes on to the new task
        return replace(found, gone=tuple(line for line in known[0].gone if all(line in one.gone for one in known)))
    return found


def key_of(name: str, record: Record, labels: Sequence[Hashable]) -> str:
    """Return the key of a task: a hash of its name, record and classes as they are at that time."""
    said = [name, record.learned, record.examples, *labels]
    return hashlib.sha256("\n".join(map(repr, said)).encode()).hexdigest()[:16]


def lineages(records: Sequence[Record]) -> list[Lineage]:
    """Return for each task all tasks that its parameters come from, the earliest first.

    Args:
        records: of all tasks, in their order.
    """
    earlier, found = dict[str | None, Lineage](), list[Lineage]()
    for record in records:
        first = record.shaped_by[0][0] if record.shaped_by else None
        found.append((*earlier.get(first, ()), *record.shaped_by))
        if record.key is not None:
            earlier[record.key] = found[-1]
    return found


def shortened(records: Sequence[Record]) -> list[Record]:
    """Return records in which a task's ancestors go back only to the nearest that is an earlier task; see `lineages`.

    Args:
        records: of all tasks, in their order, with all ancestors.
    """
    earlier, found = dict[str | None, Lineage](), list[Record]()
    for record in records:
        whole = record.shaped_by
        keys = [key for key, _ in whole]
        start = next((i for i in reversed(range(len(keys))) if _keys(earlier.get(keys[i])) == keys[:i]), 0)
        found.append(replace(record, shaped_by=whole[start:]))
        if record.key is not None:
            earlier[record.key] = whole
    return found


def _keys(lineage: Lineage | None) -> list[str] | None:
    return None if lineage is None else [key for key, _ in lineage]


def rekeyed(records: Sequence[Record], keys: Mapping[str | None, str]) -> list[Record]:
    """Return records in which some tasks have other keys, also where they are ancestors."""
    return [
        replace(
            record,
            key=keys.get(record.key, record.key),
            shaped_by=tuple((keys.get(key, key), name) for key, name in record.shaped_by),
        )
        for record in records
    ]


def ancestors(classes: ClassTable) -> list[list[str]]:
    """Return for each task the names of the tasks from whose parameters its own started, as they are called now."""
    now = {record.key: name for record, name in zip(classes.records, classes.names, strict=True)}
    return [[now.get(key, f"{name} (removed)") for key, name in one] for one in lineages(classes.records)]


def write_down(classes: ClassTable, kept: Sequence[int], left: Sequence[Trace], removed: Mapping[int, str]) -> None:
    """Add traces to the records of the tasks that hold them.

    Args:
        classes: of the tasks that are kept.
        kept: their numbers before the removal.
        left: the traces.
        removed: what was removed of each task, in words, by its number before.
    """
    for place, task in enumerate(kept):
        lines = [f"{removed[trace.task]}: {trace.words}"[:LONGEST] for trace in left if task in trace.holders]
        record = classes.records[place]
        classes.records[place] = replace(record, gone=tuple(dict.fromkeys((*record.gone, *lines))))


def close_up(classes: ClassTable, before: ClassTable) -> None:
    """Close up the places that no task has any more, as if the tasks that are gone had never been learned.

    In a merged learner two tasks may have one place; it stays as long as one of them does. No order changes.

    Args:
        classes: of the tasks that are kept; nothing of the others is left in them.
        before: of all tasks.
    """
    gone = {record.place for record in before.records} - {record.place for record in classes.records}
    classes.records[:] = [
        replace(record, place=record.place - sum(place < record.place for place in gone)) for record in classes.records
    ]


def in_words(left: Sequence[Trace]) -> list[str]:
    """Return each trace in words, once."""
    return list(dict.fromkeys(trace.words for trace in left))

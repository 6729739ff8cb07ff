"""A fixed test part for data without one."""

import random
from collections.abc import Hashable

from softtf.seeds import derive_seed
from softtf.streams.examples import Examples
from softtf.streams.splits import Say, quiet


def hold_out(examples: Examples, say: Say = quiet) -> tuple[Examples, Examples | None]:
    """Return a training and a test part; the test part is a fifth of every class, at least one of two examples.

    If the examples name their tasks, it is a fifth of every class in every task. The choice is fixed: it depends only
    on the order of the examples and their classes. The test part is None if no class has two examples. `say` is called
    with a note about the number held out.
    """
    test: set[int] = set()
    groups = _members(examples)
    for position, members in enumerate(groups):
        random.Random(derive_seed("hold out", position)).shuffle(members)
        test.update(members[: max(round(len(members) / 5), int(len(members) > 1))])
    train = [i for i in range(len(examples)) if i not in test]
    say(_said(examples, len(test), sum(len(members) == 1 for members in groups)))
    return examples.select(train), examples.select(sorted(test)) if test else None


def with_test(pair: tuple[Examples, Examples | None], say: Say = quiet) -> tuple[Examples, Examples | None]:
    """Return data with a test part: their own, or what `hold_out` gives."""
    train, test = pair
    return hold_out(train, say) if test is None else (train, test)


def _said(examples: Examples, held_out: int, single: int) -> str:
    of = "every class" if examples.tasks is None else "every class in every task"
    said = f"{examples.name}: {held_out:,} of {len(examples):,} examples are held out for testing, a fifth of {of}"
    return said + (f"; {single} with one example {'is' if single == 1 else 'are'} not tested" if single else "")


def _members(examples: Examples) -> list[list[int]]:
    """Return the indices of the examples of each class, and of each task within it, in order."""
    if examples.tasks is None:
        return examples.members()
    found: list[list[int]] = []
    for indices in examples.members():
        parts: dict[Hashable, list[int]] = {}
        for index in indices:
            parts.setdefault(examples.tasks[index], []).append(index)
        found += parts.values()
    return found

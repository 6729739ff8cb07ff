"""A fixed test part for data that come without one."""

import random

from softtf.seeds import derive_seed
from softtf.streams.examples import Examples


def hold_out(examples: Examples) -> tuple[Examples, Examples | None]:
    """Return a training and a test part, a fifth of every class (at least one of two) being for testing.

    The choice is fixed: it depends on nothing but the order of the examples and their classes. The test part
    is None if no class has two examples.
    """
    test: set[int] = set()
    for position, members in enumerate(examples.members()):
        random.Random(derive_seed("hold out", position)).shuffle(members)
        test.update(members[: max(round(len(members) / 5), int(len(members) > 1))])
    train = [i for i in range(len(examples)) if i not in test]
    return examples.select(train), examples.select(sorted(test)) if test else None

"""Whom tasks come from is kept short, and is the same as the whole list whatever becomes of the tasks."""

from dataclasses import replace
from random import Random

import pytest

from softtf.learners.class_table import Record
from softtf.learners.descent import lineages, shortened


def chain(letter: str, count: int, before: tuple[tuple[str, str], ...] = ()) -> list[Record]:
    """Records of tasks each of which started from the one before, with all ancestors."""
    names = [(f"{letter}{i}", f"task {letter}{i}") for i in range(count)]
    return [Record(key=key, shaped_by=(*before, *names[:i])) for i, (key, _) in enumerate(names)]


def test_a_chain_takes_one_entry_a_task() -> None:
    whole = chain("a", 1000)
    short = shortened(whole)
    assert [len(record.shaped_by) for record in short] == [0] + [1] * 999
    assert lineages(short) == [record.shaped_by for record in whole] == lineages(whole)


@pytest.mark.parametrize("seed", range(20))
def test_it_survives_orders_removals_and_merges(seed: int) -> None:
    random = Random(seed)
    first = chain("a", 6)
    more = chain("b", 4, before=(*first[3].shaped_by, ("a3", "task a3")))  # another team went on from a3
    whole = {record.key: record.shaped_by for record in (*first, *more, *chain("c", 3))}
    known = [Record(key=key, shaped_by=whole[key]) for key in whole]
    for _ in range(6):
        known = [replace(r, shaped_by=own) for r, own in zip(known, lineages(known), strict=True)]
        known = shortened(random.sample(known, max(1, len(known) - random.randrange(3))))
        assert lineages(known) == [whole[record.key] for record in known]
        prefix = known[: random.randint(1, len(known))]  # as a folder loads with fewer tasks
        assert lineages(prefix) == [whole[record.key] for record in prefix]
        known = shortened([replace(r, shaped_by=own) for r, own in zip(known, lineages(known), strict=True)])

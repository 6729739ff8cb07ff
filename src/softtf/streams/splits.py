"""The usual names of splits, in any case, and what is said of the parts that became them."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation", "validate", "dev", "eval", "evaluation")
SHARD = re.compile(
    r"[-_.]?(part|shard)?[-_.]?[0-9]*([-_.]of[-_.]?[0-9]+)?([-_.][0-9a-f]{8,})?(\.(snappy|gz|gzip|zstd|lz4|brotli))?\.parquet"
)

Say = Callable[[str], object]


def quiet(_: str) -> None:
    """Say nothing."""


def usual_names(split: str) -> tuple[str, ...]:
    """Return the names that may stand for a split, best first: its own, then the usual ones; a test split may be `val`.

    All are lower case; a split of another name has only its own.
    """
    own = split.lower()
    groups = {TRAIN: TRAIN, TEST: TEST + VALIDATION, VALIDATION: VALIDATION}
    others = next((names for group, names in groups.items() if own in group), ())
    return tuple(dict.fromkeys((own, *others)))


def named_as(split: str, names: Iterable[str]) -> list[str]:
    """Return which of `names` the split may be, best first; of two that differ in case only, its own spelling."""
    order = {name: place for place, name in enumerate(usual_names(split))}
    found = [name for name in names if name.lower() in order]
    return sorted(found, key=lambda name: (name != split, order[name.lower()], name))


def begins_as(split: str, names: Sequence[str]) -> list[str]:
    """Return those of `names`, of files, that are the split's whole or its shards, by the best name that any has.

    A file such as `train_labels.parquet` is the split only where nothing else may be.
    """
    rests = [[_rest(name.lower(), word) for name in names] for word in usual_names(split)]
    for found in rests:
        if any(rest is not None and SHARD.fullmatch(rest) for rest in found):
            return [n for n, rest in zip(names, found, strict=True) if rest is not None and SHARD.fullmatch(rest)]
    for found in rests:
        if len(alike := [name for name, rest in zip(names, found, strict=True) if rest is not None]) == 1:
            return alike
    return []


def _rest(name: str, word: str) -> str | None:
    """Return what follows a word in a name that begins with it, if the word ends there."""
    rest = name.removeprefix(word)
    return rest if name.startswith(word) and not rest[:1].isalpha() else None


Part = tuple[str, Sequence[Any]]
"""What a part is called, and its examples."""


def say_splits(say: Say, name: str, train: Part, test: Part | None, unread: Sequence[str]) -> None:
    """Say which part became which split, and what beside them is not read."""
    said = f"{name}: learns from {train[0]} ({len(train[1]):,})"
    said += f", tests on {test[0]} ({len(test[1]):,})" if test else ""
    say(said + (f"; {listed(unread)} {'are' if len(unread) > 1 else 'is'} not read" if unread else ""))


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, and how many there are more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

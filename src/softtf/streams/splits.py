"""The usual names of splits, in any case, and notes about the parts that became them."""

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
    """Return the names of a split in lower case, best first: its own, then the usual ones; a test split may be `val`.

    A split with an unusual name has only its own.
    """
    own = split.lower()
    groups = {TRAIN: TRAIN, TEST: TEST + VALIDATION, VALIDATION: VALIDATION}
    others = next((names for group, names in groups.items() if own in group), ())
    return tuple(dict.fromkeys((own, *others)))


def named_as(split: str, names: Iterable[str]) -> list[str]:
    """Return those of `names` that may be the split, best first; its own spelling comes before other cases."""
    order = {name: place for place, name in enumerate(usual_names(split))}
    found = [name for name in names if name.lower() in order]
    return sorted(found, key=lambda name: (name != split, order[name.lower()], name))


def begins_as(split: str, names: Sequence[str]) -> list[str]:
    """Return the file names that are the split's one file or its shards, by the best name that any has.

    A file such as `train_labels.parquet` is the split only if no other file can be.
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
    """Return the rest of a name that begins with a whole word; None if it does not."""
    rest = name.removeprefix(word)
    return rest if name.startswith(word) and not rest[:1].isalpha() else None


Part = tuple[str, Sequence[Any]]
"""The name of a part, and its examples."""


def say_splits(say: Say, name: str, train: Part, test: Part | None, unread: Sequence[str]) -> None:
    """Say which part became which split, and which parts are not read."""
    said = f"{name}: learns from {train[0]} ({len(train[1]):,})"
    said += f", tests on {test[0]} ({len(test[1]):,})" if test else ""
    say(said + (f"; {listed(unread)} {'are' if len(unread) > 1 else 'is'} not read" if unread else ""))


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

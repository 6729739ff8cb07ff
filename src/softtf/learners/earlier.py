"""Translate the settings of learners between earlier versions and today's, for saved learners and the names of runs."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from softtf.errors import UserError
from softtf.learners.spans import span_of

CLASSES = {"task": "own"}  # earlier value of `classes` to today's
STORED = ("soft-mask", "lora", "adapter", "task-weights")  # kinds of adaptation with `store`, the earlier `storage`


def in_todays_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a spec that an earlier version saved, in today's words.

    Raises:
        UserError: two adaptations differ in `store`.
    """
    today = deepcopy(dict(settings))
    word = today.get("classes")
    if isinstance(word, str) and word in CLASSES:
        today["classes"] = CLASSES[word]
    parts = list(_stored(today))
    if "storage" not in today and any("store" in part for part in parts):
        stores = {part.pop("store", "int8") for part in parts}
        if len(stores) > 1:
            words = " and ".join(sorted(map(str, stores)))
            raise UserError(f"adaptations have the stores {words}; give the learner one storage and leave store out")
        today["storage"] = stores.pop()
    return today


def in_earlier_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a spec as earlier versions wrote them, for the names of their runs."""
    earlier = deepcopy(dict(settings))
    parts = list(_stored(earlier))
    if earlier.get("storage") == "int8" or parts:
        storage = earlier.pop("storage", "int8")
        for part in parts:
            part["store"] = storage
    return earlier


def refuse_earlier_words(spec: object) -> None:
    """Refuse a spec whose `classes` is an earlier version's word.

    Raises:
        UserError: the message names today's word.
    """
    given = span_of(spec)
    if given in CLASSES:
        raise UserError(f"classes={given!r} is called {CLASSES[given]!r} now; write classes={CLASSES[given]!r}")


def _stored(settings: Any) -> Iterator[dict[str, Any]]:
    """Yield every part of a tree of settings that had `store`; whole weights may be named without their kind."""
    if isinstance(settings, dict):
        if settings.get("kind") in STORED:
            yield settings
        for part in settings.values():
            yield from _stored(part)
    elif isinstance(settings, list):
        for part in settings:
            yield from _stored(part)

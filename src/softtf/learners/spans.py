"""Which classes a cross-entropy is over: one vocabulary for every method, `classes` of its spec.

`seen`: all classes seen so far. Where the data hold the current task's only, each step lowers the logits of the others.
`own`: an example of the current task is compared with its task's own classes, and the classifiers of the others are
left as they are. Replayed examples are compared with all classes seen nevertheless, as in ER-ACE (Caccia et al., ICLR
2022): nothing else would ever tell tasks apart.
`all`: also the classes to come, where their number is known.

The span alone moves accuracy by more than most methods differ, so that every table names it.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_type_hints

from softtf.errors import UserError, unknown

LossClasses = Literal["seen", "own"]
AnyClasses = Literal["seen", "own", "all"]
NO_SPAN = "–"
"""What tables say of a method without a cross-entropy."""

EARLIER = {"task": "own"}  # the words of earlier versions


def span_of(spec: object) -> str:
    """Return a spec's `classes` as tables show it."""
    return str(getattr(spec, "classes", NO_SPAN))


def check_span(spec: object) -> None:
    """Refuse a word that the spec's `classes` cannot be.

    Raises:
        UserError: naming those that it can be.
    """
    known, given = get_args(get_type_hints(type(spec)).get("classes")), span_of(spec)
    if known and given in EARLIER:
        raise UserError(f"classes={given!r} is called {EARLIER[given]!r} now; write classes={EARLIER[given]!r}")
    if known and given not in known:
        raise unknown("value of classes", given, known)


def in_todays_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a spec that an earlier version saved, in today's words."""
    word = settings.get("classes")
    return {**settings, "classes": EARLIER[word]} if isinstance(word, str) and word in EARLIER else dict(settings)

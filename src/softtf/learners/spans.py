"""Which classes a cross-entropy compares: the setting `classes`, with the same words for every method.

`seen`: all classes seen so far. Where the data hold only the current task's classes, each step lowers the logits of the
others.
`own`: an example of the current task is compared with its task's own classes, and the classifiers of other tasks stay
as they are. Replayed examples are still compared with all classes seen, as in ER-ACE (Caccia et al., ICLR 2022);
otherwise nothing would tell tasks apart. In a task of one class the cross-entropy is always 0 and trains nothing;
`learn` warns of it.
`all`: also the classes of later tasks, where their number is known.

This choice alone moves accuracy by more than most methods differ, so every table names it. The losses of some methods
are defined within a task: there is nothing to choose, and their specs have `classes` as a constant, `own`.
"""

from dataclasses import fields
from typing import Any, Literal

LossClasses = Literal["seen", "own"]
AnyClasses = Literal["seen", "own", "all"]
NO_SPAN = "–"
"""How tables show a method without a cross-entropy."""


def span_of(spec: object) -> str:
    """Return a spec's `classes` as tables show it."""
    return str(getattr(spec, "classes", NO_SPAN))


def has_choice(spec: Any) -> bool:
    """Return whether `classes` is a setting of the spec's."""
    return any(field.name == "classes" for field in fields(spec))

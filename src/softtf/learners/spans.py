"""Which classes a cross-entropy is over: one vocabulary for every method, `classes` of its spec.

`seen`: all classes seen so far. Where the data hold the current task's only, each step lowers the logits of the others.
`own`: an example of the current task is compared with its task's own classes, and the classifiers of the others are
left as they are. Replayed examples are compared with all classes seen nevertheless, as in ER-ACE (Caccia et al., ICLR
2022): nothing else would ever tell tasks apart. Over a task's only class the cross-entropy is always 0 and trains
nothing; `learn` warns of it.
`all`: also the classes to come, where their number is known.

The span alone moves accuracy by more than most methods differ, so that every table names it.
"""

from typing import Literal

LossClasses = Literal["seen", "own"]
AnyClasses = Literal["seen", "own", "all"]
NO_SPAN = "–"
"""What tables say of a method without a cross-entropy."""


def span_of(spec: object) -> str:
    """Return a spec's `classes` as tables show it."""
    return str(getattr(spec, "classes", NO_SPAN))

"""What follows from the slots of all tasks is put together once, not for each batch that is answered.

A learner that answers is not trained meanwhile. So its heads side by side, its keys, or the mixture of all tasks
stay as they are, and no batch needs to visit all tasks for them.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

Kept = dict[tuple[Hashable, Hashable], Tensor]
"""By the module, which is equal to itself alone, and a name."""

_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def answering(kept: Kept) -> Iterator[None]:
    """Within the block, `once` keeps what it makes in `kept`; the modules that ask for it must not change."""
    before = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(before)


def once(owner: Hashable, name: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """Return what `make` returns, without a gradient if it is kept; it is made anew outside of `answering`.

    Args:
        owner: the module from whose slots it follows.
        name: what it is, with everything that it depends on besides.
        make: puts it together.
    """
    kept = _kept.get()
    if kept is None:
        return make()
    key = (owner, name)
    if key not in kept:
        kept[key] = make().detach()
    return kept[key]

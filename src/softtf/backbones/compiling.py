"""Blocks that torch compiles while a task is trained, if the settings ask for it (`TrainConfig.compile`).

A backbone gives its blocks' weights to one function, so that all its blocks share what is compiled: a few graphs, by
whether there are prefixes, gradients and masks, and not as many for each block.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from inspect import signature
from typing import Any

import torch

from softtf.devices.within import Within
from softtf.errors import UserError, one_line

GRAPHS = 32
"""The most graphs of one function; what needs another runs as it is."""

BACKEND = "inductor"

_on: ContextVar[bool] = ContextVar("whether blocks are compiled", default=False)


class Compiling(Within[bool]):
    """A context in which blocks are compiled where `wanted`, in this thread only."""

    def __init__(self, wanted: bool) -> None:
        super().__init__(_on, wanted)

    def __exit__(self, *about: object) -> None:
        super().__exit__()
        error = about[1]
        if self._value and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UserError(
                f"train.compile: torch cannot compile on this machine ({one_line(error, 200)}); leave it out"
            ) from None


def is_compiling() -> bool:
    """Return whether blocks are to be compiled."""
    return _on.get()


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function compiled for any size of batch, the first dimension of its second argument."""
    limit: dict[str, Any] = (
        {"recompile_limit": GRAPHS} if "recompile_limit" in signature(torch.compile).parameters else {}
    )
    fast: Any = torch.compile(function, backend=BACKEND, **limit)

    def called(first: Any, x: torch.Tensor, *others: Any) -> Any:
        torch._dynamo.maybe_mark_dynamic(x, 0)
        return fast(first, x, *others)

    return called

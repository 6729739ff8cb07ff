"""Errors about too little memory, on the machine or its device, as one line with the batch size and the remedy."""

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from softtf.errors import ShortageError

P = ParamSpec("P")
R = TypeVar("R")
WORDS = re.compile("out of memory|can't allocate memory|cannot allocate memory|not enough memory|ALLOC_FAILED", re.I)
"""What a RuntimeError of torch says: from its CPU allocator, older GPUs' allocators, or cuBLAS."""
AMOUNT = re.compile(r"(?:tried|unable) to allocate ([\d.]+ ?[a-z]+)", re.I)


def is_shortage(error: BaseException) -> bool:
    """Return whether an error is about too little memory."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    # By its name, so that the command line need not import torch for its class.
    return type(error).__name__ == "OutOfMemoryError" or WORDS.search(str(error)) is not None


def wanted(error: BaseException) -> str:
    """Return, in brackets, how much memory was requested, if the error says so."""
    found = AMOUNT.search(str(error))
    return f" ({found[1]} more were requested)" if found else ""


def needs_memory(
    doing: str, batch_size: Callable[..., int] | None = None, kind: type[ShortageError] = ShortageError
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that turns errors about too little memory into errors of one class.

    Args:
        doing: what the function does, to follow "to" in the message.
        batch_size: returns the batch size for the function's arguments; None if there is none.
        kind: the class of the error.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                amount = wanted(error)
            # Raised here, outside the except block: the old error and all that its frames hold are freed.
            if batch_size is None:
                raise kind(f"there is not enough memory to {doing}{amount}; free memory, or take a smaller backbone")
            raise kind(
                f"there is not enough memory to {doing} with batch_size {batch_size(*args, **kwargs)}{amount};"
                " give a smaller batch_size, or free memory"
            )

        return guarded

    return decorate

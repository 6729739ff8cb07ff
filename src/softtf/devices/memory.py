"""Too little memory, of the machine or of its device, told in one line that names the batch size and what helps."""

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from softtf.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
WORDS = re.compile("out of memory|can't allocate memory|cannot allocate memory|not enough memory|ALLOC_FAILED", re.I)
"""What torch says of it in a RuntimeError: its allocator of the CPU, of older GPUs, and cuBLAS."""
AMOUNT = re.compile(r"(?:tried|unable) to allocate ([\d.]+ ?[a-z]+)", re.I)


def is_shortage(error: BaseException) -> bool:
    """Say whether an error is about too little memory."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    # Torch's own class is known by its name: the command line need not load torch for that.
    return type(error).__name__ == "OutOfMemoryError" or WORDS.search(str(error)) is not None


def wanted(error: BaseException) -> str:
    """Return in brackets how much memory was asked for, if the error says it."""
    found = AMOUNT.search(str(error))
    return f" ({found[1]} more were asked for)" if found else ""


def needs_memory(
    doing: str, batch_size: Callable[..., int], kind: type[UserError] = UserError
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that turns too little memory into an error of this kind.

    Args:
        doing: what the function does, behind "to".
        batch_size: gives the batch size, from the function's arguments.
        kind: of error.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                size, amount = batch_size(*args, **kwargs), wanted(error)
            # Raised here, where the error and all that its frames hold are gone.
            raise kind(
                f"there is not enough memory to {doing} with batch_size {size}{amount};"
                " give a smaller batch_size, or free memory"
            )

        return guarded

    return decorate

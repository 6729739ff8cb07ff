"""A context in which a context variable has another value."""

from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class Within(Generic[T]):
    """A context in which a variable has a value, in this thread only.

    It is no generator: one that an interrupt leaves behind would be closed later, in another context.
    """

    def __init__(self, variable: ContextVar[T], value: T) -> None:
        self._variable, self._value = variable, value

    def __enter__(self) -> None:
        self._before = self._variable.set(self._value)

    def __exit__(self, *error: object) -> None:
        self._variable.reset(self._before)

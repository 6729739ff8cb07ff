"""Bounds that a setting's type carries: `epochs: Annotated[int, AtLeast(1)]`.

`Settings` checks them, and `check_value` does the same for an argument of a function.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated


class Bound(ABC):
    """What a value must be; its text completes "epochs must be"."""

    @abstractmethod
    def holds(self, value: float) -> bool:
        """Return whether the value is within the bound; NaN never is."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class AtLeast(Bound):
    """`low` or more."""

    low: float

    def holds(self, value: float) -> bool:
        """Return low <= value."""
        return value >= self.low

    def __str__(self) -> str:
        return f"at least {_written(self.low)}"


@dataclass(frozen=True)
class AtMost(Bound):
    """`high` or less."""

    high: float

    def holds(self, value: float) -> bool:
        """Return value <= high."""
        return value <= self.high

    def __str__(self) -> str:
        return f"at most {_written(self.high)}"


@dataclass(frozen=True)
class Above(Bound):
    """More than `low`."""

    low: float

    def holds(self, value: float) -> bool:
        """Return low < value."""
        return value > self.low

    def __str__(self) -> str:
        return f"above {_written(self.low)}"


@dataclass(frozen=True)
class Below(Bound):
    """Less than `high`."""

    high: float

    def holds(self, value: float) -> bool:
        """Return value < high."""
        return value < self.high

    def __str__(self) -> str:
        return f"below {_written(self.high)}"


@dataclass(frozen=True)
class Between(Bound):
    """From `low` to `high`, both included."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return low <= value <= high."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"between {_written(self.low)} and {_written(self.high)}"


@dataclass(frozen=True)
class Finite(Bound):
    """Neither infinite nor NaN."""

    def holds(self, value: float) -> bool:
        """Return whether the value is finite."""
        return math.isfinite(value)

    def __str__(self) -> str:
        return "finite"


def whole_number(text: str) -> int | None:
    """Return the number that at most 18 decimal digits write, or None; Python refuses to read thousands of digits."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def _written(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


Count = Annotated[int, AtLeast(1)]
Natural = Annotated[int, AtLeast(0)]
Positive = Annotated[float, Above(0), Finite()]
NonNegative = Annotated[float, AtLeast(0), Finite()]
Share = Annotated[float, Above(0), AtMost(1)]
Blur = Annotated[float, AtLeast(0), Below(1)]
"""The share of a class's training examples that belong to other tasks."""
FalseRejection = Annotated[float, Above(0), Below(1)]
"""The share of known inputs that are taken for unknown."""
BatchSize = Annotated[int, Between(1, 1_000_000)]
"""No machine holds a larger batch."""

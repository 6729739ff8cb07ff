"""The mean over seeds that a point of a figure shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mean:
    """Mean and sample standard deviation over seeds, in percent; the deviation is None for one seed."""

    seeds: str
    acc: float
    acc_std: float | None
    forget: float | None
    forget_std: float | None

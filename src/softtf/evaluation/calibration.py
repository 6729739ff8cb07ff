"""Confidence against accuracy: the bins of a reliability diagram, and the expected calibration error."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Samples of similar confidence: their number, mean confidence and accuracy, both in percent."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Tensor, right: Tensor, bins: int = BINS) -> list[Bin | None]:
    """Return bins of equal width over confidences from 0 to 1; None for an empty one.

    Args:
        confidence: [samples], on the CPU, the probability of each answer.
        right: [samples], whether it is right.
        bins: how many.
    """
    sure, hits = confidence.numpy().astype(np.float64), right.numpy()
    place = np.minimum((sure * bins).astype(np.int64), bins - 1)
    found: list[Bin | None] = []
    for b in range(bins):
        inside = place == b
        count = int(inside.sum())
        means = (100 * sure[inside].mean(), 100 * hits[inside].mean()) if count else None
        found.append(None if means is None else Bin(count, float(means[0]), float(means[1])))
    return found


def calibration_error(bins: list[Bin | None]) -> float:
    """Return the expected calibration error in percent (Guo et al., 2017, equation 3).

    It is the mean distance of accuracy and confidence over the bins, weighted by their samples.
    """
    filled = [b for b in bins if b is not None]
    return sum(b.count * abs(b.accuracy - b.confidence) for b in filled) / sum(b.count for b in filled)

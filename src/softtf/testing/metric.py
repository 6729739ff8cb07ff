"""Check a metric."""

from copy import deepcopy

import numpy as np

from softtf.evaluation import METRICS, AccuracyMatrix
from softtf.testing.laws import law


def check_metric(name: str) -> None:
    """Check a metric: a number, or None, for every matrix of one to three tasks, which it leaves as it is."""
    for tasks in (1, 2, 3):
        rows = [[9 - t + i for i in range(t + 1)] for t in range(tasks)]
        for named in (None, rows):
            matrix = AccuracyMatrix(rows, [10] * tasks, named)
            kept, value = deepcopy(matrix), METRICS[name].of(matrix)
            law(value is None or bool(np.isfinite(value)), f"{name} is a finite number, or None")
            law(matrix == kept, f"{name} leaves the matrix as it is")

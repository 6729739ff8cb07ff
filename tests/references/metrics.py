"""The summary numbers of a[i][t], the accuracy on task i after learning task t (both from 0), by loops.

Only entries with i <= t are read. `forgetting` and `backward_transfer` are undefined for a single task: they
divide by zero there.
"""

Accuracies = list[list[float]]


def average_accuracy(a: Accuracies) -> float:
    """ACC = mean over i of a[i, T]."""
    total = 0.0
    for i in range(len(a)):
        total += a[i][-1]
    return total / len(a)


def forgetting(a: Accuracies) -> float:
    """Forget = mean over i < T of (max over t of a[i, t], minus a[i, T]); t runs to T, so never negative."""
    total = 0.0
    for i in range(len(a) - 1):
        best = a[i][i]
        for t in range(i, len(a)):
            if a[i][t] > best:
                best = a[i][t]
        total += best - a[i][-1]
    return total / (len(a) - 1)


def backward_transfer(a: Accuracies) -> float:
    """BWT = mean over i < T of (a[i, T] - a[i, i])."""
    total = 0.0
    for i in range(len(a) - 1):
        total += a[i][-1] - a[i][i]
    return total / (len(a) - 1)


def average_incremental_accuracy(a: Accuracies) -> float:
    """Mean over t of (mean over i <= t of a[i, t])."""
    total = 0.0
    for t in range(len(a)):
        seen = 0.0
        for i in range(t + 1):
            seen += a[i][t]
        total += seen / (t + 1)
    return total / len(a)

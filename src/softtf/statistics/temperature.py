"""Temperatures that make a softmax of scores a probability, fitted on held-out training examples of every task."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURES = tuple(10 ** (exponent / 20) for exponent in range(-50, 21))


def first_of_five(columns: Tensor) -> Tensor:
    """Return a mask [n] of the first, sixth, ... example of each class that has two, in the order in which they stand.

    These are held out to choose what the others are fitted with; nothing is drawn.
    """
    order = torch.argsort(columns, stable=True)
    ordered = columns[order]
    start, end = torch.searchsorted(ordered, ordered), torch.searchsorted(ordered, ordered, right=True)
    held = torch.empty_like(columns, dtype=torch.bool)
    held[order] = ((torch.arange(len(columns)) - start) % 5 == 0) & (end - start > 1)
    return held


def fit_temperature(scores: Tensor, columns: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature of a log grid under which softmax(scores / temperature) tells `columns` [n] best.

    Best is the least mean negative log-likelihood, each example counting by `weights` [n].
    """

    def loss(temperature: float) -> float:
        each = F.cross_entropy(scores / temperature, columns, reduction="none")
        return float((each if weights is None else each * weights).mean())

    return min(TEMPERATURES, key=loss)


class FittedMean:
    """The geometric mean of a positive setting that was fitted on each task, tasks weighed by what they had to fit on.

    A task of a few examples so moves it by a little, whenever it comes.
    """

    def __init__(self, name: str, default: float) -> None:
        self.name, self.default = name, default

    def add(self, known: Mapping[str, Tensor], value: float | None, weight: float) -> dict[str, Tensor]:
        """Return the kept [2] under `name` with one more task's value in it; None where it could not be fitted."""
        new = torch.zeros(2) if value is None else torch.tensor([weight * torch.tensor(value).log(), weight])
        return {self.name: known.get(self.name, torch.zeros(2)) + new}

    def value(self, known: Mapping[str, Tensor]) -> float:
        """Return the mean, or the default where no task could fit it."""
        total, weight = known[self.name].double().tolist()
        return float(torch.tensor(total / weight).exp()) if weight else self.default


def log_shares(counts: Tensor, labels: Tensor) -> Tensor:
    """Return the log of each column's share of its label's examples, [columns]; 0 where a label has one column.

    A label that several tasks have taught has one score and one probability; its columns share that out.

    counts: [columns], examples; labels: [columns], label numbers.
    """
    total = torch.zeros(int(labels.max()) + 1, dtype=counts.dtype).index_add_(0, labels, counts)
    return (counts / total[labels]).log().float()

"""Temperatures that turn scores into probabilities by a softmax, from held-out examples or from sums."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.files.tensor_form import TensorForm

TEMPERATURES = tuple(10 ** (exponent / 20) for exponent in range(-50, 21))
LEAST_HEIGHT, LEAST_SHARE = 1e-3, 0.1  # what is lower is noise; of the height of seen examples
POSITIVE = TensorForm(least=1e-9, most=1e9)
"""The form of a saved temperature."""


def first_of_five(columns: Tensor) -> Tensor:
    """Return a mask [n] of the first, sixth, eleventh ... example of each class; a class of one example has none.

    The masked examples are held out from a fit. Nothing is random.

    Args:
        columns: [n], the class of each example.
    """
    return fold_numbers(columns, 5) == 0


def fold_numbers(columns: Tensor, count: int) -> Tensor:
    """Return the fold, out of `count`, of each example [n]; those of a class are dealt out in their order.

    The only example of a class is in no fold: -1.
    """
    order = torch.argsort(columns, stable=True)
    ordered = columns[order]
    start, end = torch.searchsorted(ordered, ordered), torch.searchsorted(ordered, ordered, right=True)
    numbers = torch.empty_like(columns)
    numbers[order] = ((torch.arange(len(columns)) - start) % count).masked_fill(end - start == 1, -1)
    return numbers


def fit_temperature(scores: Tensor, columns: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature that minimises the mean negative log-likelihood of softmax(scores / temperature).

    It is one of TEMPERATURES, a grid in the logarithm.

    Args:
        scores: [n, classes].
        columns: [n], the right class of each example.
        weights: [n], the weight of each example; None weighs them equally.
    """

    def loss(temperature: float) -> float:
        each = F.cross_entropy(scores / temperature, columns, reduction="none")
        return float((each if weights is None else each * weights).mean())

    return min(TEMPERATURES, key=loss)


def mean_height(seen: float, left_out: float) -> float:
    """Return the geometric mean of two heights, to which the best temperature of a method's scores is proportional.

    A height is how far the right label's score is above the mean of all, averaged over examples. New examples have the
    height of those that are left out; the further it is below that of seen ones, the more their scores spread.

    Args:
        seen: over examples that were learned from.
        left_out: over the same, each left out of what gives its scores.
    """
    return max(LEAST_HEIGHT, math.sqrt(max(seen * max(left_out, LEAST_SHARE * seen), 0.0)))


class FittedMean:
    """The geometric mean over tasks of a positive value that is fitted on each task.

    A task's weight is that of its held-out examples: a task of few examples moves the mean little, whenever it comes.
    """

    def __init__(self, name: str, default: float) -> None:
        self.name, self.default = name, default

    def kept(self, value: float | None, weight: float) -> dict[str, Tensor]:
        """Return a task's own sums [2] under `name`; value: None if the task could not fit one."""
        none = value is None
        return {self.name: torch.zeros(2) if none else torch.tensor([weight * torch.tensor(value).log(), weight])}

    def joined(self, *kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of all that is kept, as those of one task."""
        return {self.name: torch.stack([one[self.name] for one in kept]).sum(0)}

    @property
    def form(self) -> TensorForm:
        """The form of what `kept` returns."""

        def fits(sums: Tensor, _: Mapping[str, Tensor]) -> bool:
            total, weight = sums.double().tolist()
            return bool(abs(total) <= 25 * weight)

        return TensorForm((2,), rule=fits, words="the sums of a mean between exp(-25) and exp(25)")

    def added(self, known: Mapping[str, Tensor], value: float | None, weight: float) -> dict[str, Tensor]:
        """Return the sums of the known tasks and one more, for a method that keeps them as one."""
        return {self.name: known.get(self.name, torch.zeros(2)) + self.kept(value, weight)[self.name]}

    def value(self, *kept: Mapping[str, Tensor]) -> float:
        """Return the mean over all that is kept, or the default if no task could fit a value."""
        return float(self.scalar(*kept))

    def scalar(self, *kept: Mapping[str, Tensor]) -> Tensor:
        """Return `value` as a tensor, [], in float64: an answer that reads it can be written as a graph."""
        total, weight = sum((one[self.name] for one in kept), torch.zeros(2)).double()
        mean = (total / weight).float().exp().double()
        return torch.where(weight > 0, mean, torch.tensor(self.default, dtype=torch.float64))


def log_shares(counts: Tensor, labels: Tensor) -> Tensor:
    """Return the log of each column's share of its label's examples, [columns]; 0 if a label has one column.

    A label that several tasks taught has one score and one probability, which its columns share.

    Args:
        counts: [columns], the examples of each column.
        labels: [columns], the label number of each column.
    """
    total = torch.zeros_like(counts).index_add_(0, labels, counts)  # of as many labels as there are columns, or fewer
    return (counts / total[labels]).log().float()

"""Ridge regression of labels on random units of standardised features, by integer sums that are exact in any order.

It is `random_ridge` (RanPAC, McDonnell et al., NeurIPS 2023) with four differences. The features have several views,
each with its own units. Units are rounded to integers, so that sums are exact: tasks in any order, or the added sums of
several learners, give the same bits. Scores are centred. Lambda is fixed: with H the scatter of the units around their
mean over n examples, W = (H + lambda I)^-1 C and lambda = 0.3 tr H / n. Nothing is held out, so there are half as many
sums to keep.

Training scores are more certain than those of new examples. By how much follows from the sums alone, by generalised
cross-validation (Golub, Heath and Wahba, Technometrics 1979): `slope_for_new`. Scores are scaled towards their mean by
this slope, which changes no answer and calibrates the probabilities.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.devices.processes import mine
from softtf.files.tensor_form import Forms
from softtf.seeds import derive_seed
from softtf.statistics.random_ridge import column_counts, column_forms, share_joined, share_united, share_without
from softtf.statistics.ridge_sums import NO_EXAMPLES, RidgeSums, solve_positive
from softtf.statistics.shares import Share, all_labels, local_numbers, own_share
from softtf.statistics.temperature import log_shares

RIDGE = 0.3  # chosen on training images of CIFAR-100 (docs/results.md); the same for texts
UNIT = 16  # the standard deviation, before rounding, of the projection of features in their usual range
FLOOR, SHARE, TEMPERATURE, POWER = 0.02, 0.5, 0.27, 1.5  # of the probabilities (docs/results-details.md)
LEAST_SLOPE, MOST_LEVERAGE, GROWTH = 0.25, 0.95, 1.3
PROBES = 32  # random vectors that estimate a trace
ROWS = 1024  # rows of h at once


@dataclass(frozen=True)
class ExactRidgeSolution:
    """The regression over all shares; scores are h weights + bias.

    Attributes:
        weights: [M, columns], float32.
        bias: [columns], float32.
        ridge: lambda.
        counts: [columns], the examples of each column.
        labels: [columns], its label number.
    """

    weights: Tensor
    bias: Tensor
    ridge: float
    counts: Tensor
    labels: Tensor


class ExactRidge(nn.Module):
    """The projections of all views, drawn from the seed and never saved, and the regression on their units.

    A task's sums take 2 M (M + 1) + 4 M labels bytes, 50 MB for M = 5,000. They take twice that once a sum exceeds
    2^31, after about a million examples.

    Args:
        views: the number of views of an input.
        dim: the dimension of one view's features.
        size: M, a multiple of the views.
        seed: the seed of the projections.
    """

    projection: Tensor

    def __init__(self, views: int, dim: int, size: int, seed: int) -> None:
        super().__init__()
        assert size % views == 0
        self.views, self.dim, self.size = views, dim, size
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        projection = torch.randn(views, dim, size // views, generator=generator) * (UNIT / math.sqrt(dim))
        self.register_buffer("projection", projection, persistent=False)

    def forms(self, labels: Tensor) -> Forms:
        """Return the forms of a share; labels: [columns], the label number of each of its columns."""
        return {**RidgeSums.forms("", self.size, int(labels.max()) + 1, 1, 0, whole=True), **column_forms(labels)}

    def forward(self, features: Tensor) -> Tensor:
        """Return h = relu(R_v^T x_v) of all views, concatenated to [n, M], for standardised features [n, views dim]."""
        by_view = features.unflatten(1, (self.views, self.dim)).transpose(0, 1)
        return F.relu(by_view @ self.projection.to(features.dtype)).transpose(0, 1).flatten(1)

    @torch.no_grad()
    def share(
        self,
        before: Sequence[Share],
        features: Tensor,
        columns: Tensor,
        labels: Tensor,
        standardise: Callable[[Tensor], Tensor],
    ) -> Share:
        """Return the newest task's share, which depends on its own examples alone.

        Args:
            before: the shares of earlier tasks.
            features: [n, views dim], not standardised.
            columns: [n], the logit column of each example.
            labels: [columns so far], the label number of each column; a repeated label keeps its number.
            standardise: returns features [rows, views dim] standardised; it gets some rows at a time, to save memory.
        """
        columns, labels = own_share(before, columns, labels)
        numbers, local = local_numbers(labels)
        sums = RidgeSums.zeros(self.size, len(numbers))
        for chunk, of_chunk in mine(zip(features.split(ROWS), local[columns].split(ROWS), strict=True)):
            sums.add(self(standardise(chunk).to(self.projection)).cpu().double().round_(), of_chunk)
        sums.gather()
        counts = {"counts": torch.bincount(columns, minlength=len(labels)), "labels": local}
        return Share(sums.kept("", whole=True) | counts, labels)

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
        """Return a task's share of the classes at `kept` (`RidgeSums.without`)."""
        return share_without(share, self.size, kept, "")

    def joined(self, one: Share, more: Share) -> dict[str, Tensor]:
        """Return a task's share with that of more of its examples added: that of them all, exactly."""
        return share_joined(one, more, self.size, "")

    def united(self, shares: Sequence[Share]) -> dict[str, Tensor]:
        """Return the share of the tasks of some shares together, exactly."""
        return share_united(shares, self.size, "")

    @torch.no_grad()
    def solve(self, shares: Sequence[Share]) -> ExactRidgeSolution:
        """Solve the regression over the examples of all shares.

        Raises:
            TrainingError: the shares contain no examples.
        """
        labels = all_labels(shares)
        weights, bias, ridge = solve_centred(RidgeSums.total(shares, "", self.size, int(labels.max()) + 1))
        counts = column_counts(shares)
        return ExactRidgeSolution(weights[:, labels].float(), bias[labels].float(), ridge, counts, labels)

    @staticmethod
    def logits(known: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """Return logits [n, columns] of scores s: log(max(s, 0) + 0.02 + 1 / 2C) / 0.27, plus log shares; C labels.

        Their softmax is calibrated. A softmax of the scores themselves gives unlikely classes too much and likely ones
        too little. Once scores are scaled towards their mean by their slope, one temperature fits 2 and 100 classes, 5
        and 100 images per class, images and texts (docs/results-details.md). A constant is never outdated and favours
        no task. Columns of one label share its probability in proportion to their examples.
        """
        shares = log_shares(known["counts"], known["labels"]).to(scores)
        floor = FLOOR + SHARE / (known["labels"].max().double() + 1)
        return scores.clamp_min(0).add(floor).log() / TEMPERATURE + shares


class Centred(NamedTuple):
    """A ridge regression of labels on h and a constant, all labels with the same weight.

    Attributes:
        weights: W [M, labels], before they are drawn towards their mean.
        cross: sum (h - m) y^T [M, labels], m the mean of the labels' means.
        centre: m [M].
        present: [labels], 1 where a label has examples, else 0.
        labels: the number of labels with examples.
        examples: n.
        ridge: lambda.
        leverage: the mean leverage of an example, degrees of freedom over n.
        inverse: (H + lambda I)^-1 Z [M, PROBES], with H the scatter and Z the `random_signs`.
    """

    weights: Tensor
    cross: Tensor
    centre: Tensor
    present: Tensor
    labels: float
    examples: float
    ridge: float
    leverage: float
    inverse: Tensor


def centred(sums: RidgeSums, least: float = 1.0) -> Centred:
    """Return the ridge regression of labels on h and a constant; least: of lambda, 1 for units that are integers.

    Raises:
        TrainingError: the sums are not those of any examples.
    """
    moments, n = sums.moments(balance=True), float(sums.counts.sum())
    count = moments.weight
    centre = moments.cross.sum(1) / count
    scatter = (moments.gram / count).addr_(centre, centre, alpha=-1).mul_(n)
    ridge = max(RIDGE * float(scatter.trace()) / n, least)
    scatter.diagonal().add_(ridge)
    present = (sums.counts > 0).double()
    cross = (moments.cross - torch.outer(centre, present)) * (n / count)
    probes = random_signs(len(scatter))
    solved = solve_positive(scatter, torch.cat([cross, probes], 1), NO_EXAMPLES)
    weights, inverse = solved[:, : cross.shape[1]], solved[:, cross.shape[1] :]
    freedom = len(scatter) - ridge * trace_of(inverse) + 1
    return Centred(weights, cross, centre, present, count, n, ridge, freedom / n, inverse)


def solve_centred(sums: RidgeSums) -> tuple[Tensor, Tensor, float]:
    """Return weights [M, labels], bias [labels] and lambda of the ridge regression of labels on h and a constant.

    All labels have the same weight. Scores are h weights + bias, scaled towards their mean by `slope_for_new` to the
    power that was best on held-out training images and texts.

    Raises:
        TrainingError: the sums contain no examples.
    """
    weights, cross, centre, present, count, n, ridge, leverage, _ = centred(sums)
    explained, penalty = float((weights * cross).sum()) / n, ridge * float(weights.square().sum()) / n
    weights = weights * slope_for_new(explained, penalty, leverage, count, n) ** POWER
    return weights, present / count - centre @ weights, ridge


def random_signs(size: int, count: int = PROBES) -> Tensor:
    """Return vectors Z [size, count] of +1 and -1, always the same: of A Z, `trace_of` tells about tr A."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (size, count), generator=generator).double() * 2 - 1


def trace_of(product: Tensor) -> float:
    """Return about tr A for A Z [size, count], with Z the `random_signs`: the mean of z^T A z."""
    return float((random_signs(*product.shape) * product).sum()) / product.shape[1]


def slope_for_new(explained: float, penalty: float, leverage: float, labels: float, examples: float) -> float:
    """Return the slope of one-hot labels on the scores of new examples, both around 1/C; at most 1.

    With C labels of the same weight, s the scores of n examples, W, lambda and the weighted cross-moments X of scatter
    and labels, training has mean (s_right - 1/C) = tr W^T X / n and
    mean |y - s|^2 = 1 - 1/C - tr W^T X / n - lambda |W|^2 / n. An example that is left out, of leverage l, has
    y - s' = (y - s) / (1 - l), and all are taken to have the mean leverage, as in generalised cross-validation. That
    gives mean (s'_right - 1/C), mean |y - s'|^2, and so mean |s' - 1/C|^2; the slope is the first over the last.

    The first is too low: without the example its label has m - 1 examples and all others m = n / C. So s'_right is
    multiplied by (m / (m - 1))^(1.3 (1 - s'_right)): low scores grow with their label's examples, those near 1 do not.
    1.3 was chosen on training images and texts (docs/results-details.md).

    Args:
        explained: tr W^T X / n.
        penalty: lambda |W|^2 / n.
        leverage: the mean leverage, degrees of freedom over n.
        labels: C.
        examples: n.
    """
    leverage, chance = min(leverage, MOST_LEVERAGE), 1 - 1 / labels
    above = (explained - leverage * chance) / (1 - leverage)
    error = (chance - explained - penalty) / (1 - leverage) ** 2
    spread = error - chance + 2 * above
    right, each = max(above + 1 / labels, 0.0), max(examples / labels, 2.0)
    above = right * (each / (each - 1)) ** (GROWTH * (1 - right)) - 1 / labels
    return min(1.0, max(LEAST_SLOPE, above / spread)) if spread > 0 else 1.0

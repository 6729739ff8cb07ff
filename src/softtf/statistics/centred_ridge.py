"""Ridge regression of labels on units and a constant, solved from their sums, and how sure its scores are.

With H the scatter of the units around their mean over n examples, m examples of each label on average,
W = (H + lambda I)^-1 C and lambda = (0.3 + 1.5 / m) tr H / n. The fewer examples a label has, the more lambda is worth.

Training scores are more certain than those of new examples. By how much follows from the sums alone, by generalised
cross-validation (Golub, Heath and Wahba, Technometrics 1979): `slope_for_new`. Scores are scaled towards their mean by
this slope, which changes no answer of the regression and calibrates its probabilities.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from softtf.statistics.ridge_sums import NO_EXAMPLES, RidgeSums, solve_positive

RIDGE, RIDGE_OF_FEW = 0.3, 1.5  # chosen on training images of CIFAR-100 and training texts (docs/results-details.md)
SLOPE_POWER, LEAST_SLOPE, MOST_LEVERAGE, GROWTH = 1.5, 0.25, 0.95, 1.3  # docs/results-details.md
PROBES = 32  # random vectors that estimate a trace


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

    @property
    def explained(self) -> float:
        """The mean score of an example's own label, less 1/C: tr W^T X / n, with X the `cross`."""
        return float((self.weights * self.cross).sum()) / self.examples


def centred(sums: RidgeSums, least: float = 1.0, share: float | None = None) -> Centred:
    """Return the ridge regression of labels on h and a constant.

    Args:
        sums: over all examples.
        least: the least lambda, 1 for units that are integers.
        share: lambda as a share of tr H / n; that of `ridge_share` if there is none.

    Raises:
        TrainingError: the sums are not those of any examples.
    """
    moments, n = sums.moments(balance=True), float(sums.counts.sum())
    count = moments.weight
    centre = moments.cross.sum(1) / count
    scatter = (moments.gram / count).addr_(centre, centre, alpha=-1).mul_(n)
    ridge = max((share or ridge_share(n / count)) * float(scatter.trace()) / n, least)
    scatter.diagonal().add_(ridge)
    present = (sums.counts > 0).double()
    cross = (moments.cross - torch.outer(centre, present)) * (n / count)
    probes = random_signs(len(scatter))
    solved = solve_positive(scatter, torch.cat([cross, probes], 1), NO_EXAMPLES)
    weights, inverse = solved[:, : cross.shape[1]], solved[:, cross.shape[1] :]
    freedom = len(scatter) - ridge * trace_of(inverse) + 1
    return Centred(weights, cross, centre, present, count, n, ridge, freedom / n, inverse)


def ridge_share(each: float) -> float:
    """Return lambda as a share of tr H / n; each: the mean number of examples of a label."""
    return RIDGE + RIDGE_OF_FEW / each


def calibrated(found: Centred) -> tuple[Tensor, Tensor]:
    """Return weights [M, labels] and bias [labels]: scores are h weights + bias.

    They are scaled towards their mean by `slope_for_new` to the power that was best on held-out training images and
    texts.
    """
    slope = slope_for_new(*new_scores(found), found.labels, found.examples)
    weights = found.weights * slope**SLOPE_POWER
    return weights, found.present / found.labels - found.centre @ weights


def error_for_new(found: Centred) -> float:
    """Return the mean |y - s|^2 of one-hot labels y and scores s of new examples, told by the sums.

    With C labels of the same weight, W, lambda and the weighted cross-moments X of scatter and labels, training has
    mean |y - s|^2 = 1 - 1/C - tr W^T X / n - lambda |W|^2 / n. An example that is left out, of leverage l, has
    y - s' = (y - s) / (1 - l), and all are taken to have the mean leverage, as in generalised cross-validation.
    """
    penalty = found.ridge * float(found.weights.square().sum()) / found.examples
    return (1 - 1 / found.labels - found.explained - penalty) / (1 - min(found.leverage, MOST_LEVERAGE)) ** 2


def random_signs(size: int, count: int = PROBES) -> Tensor:
    """Return vectors Z [size, count] of +1 and -1, always the same: of A Z, `trace_of` tells about tr A."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (size, count), generator=generator).double() * 2 - 1


def trace_of(product: Tensor) -> float:
    """Return about tr A for A Z [size, count], with Z the `random_signs`: the mean of z^T A z."""
    return float((random_signs(*product.shape) * product).sum()) / product.shape[1]


def new_scores(found: Centred) -> tuple[float, float]:
    """Return what the sums tell of the scores s' of new examples: the mean s'_right - 1/C, and the mean |s' - 1/C|^2.

    With C labels, a mean training score of 1/C + t of the right label and the mean leverage l, generalised
    cross-validation has s'_right - 1/C = (t - l (1 - 1/C)) / (1 - l). The other follows from it and the error.
    """
    leverage, chance = min(found.leverage, MOST_LEVERAGE), 1 - 1 / found.labels
    above = (found.explained - leverage * chance) / (1 - leverage)
    return above, error_for_new(found) - chance + 2 * above


def slope_for_new(above: float, spread: float, labels: float, examples: float) -> float:
    """Return the slope of one-hot labels on the scores of new examples, both around 1/C; at most 1.

    It is the mean s'_right - 1/C over the mean |s' - 1/C|^2. The first is too low: without the example its label has
    m - 1 examples and all others m = n / C. So s'_right is multiplied by (m / (m - 1))^(1.3 (1 - s'_right)): low scores
    grow with their label's examples, those near 1 do not. 1.3 was chosen on training images and texts
    (docs/results-details.md).

    Args:
        above: the first, of `new_scores`.
        spread: the last.
        labels: C.
        examples: n.
    """
    right, each = max(above + 1 / labels, 0.0), max(examples / labels, 2.0)
    above = right * (each / (each - 1)) ** (GROWTH * (1 - right)) - 1 / labels
    return min(1.0, max(LEAST_SLOPE, above / spread)) if spread > 0 else 1.0

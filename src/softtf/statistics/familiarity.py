"""How familiar an input looks to a learner, by the sums of its ridge regression; nothing more is kept.

It is the relative Mahalanobis distance of Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD
Detection" (2021), on the units h that the regression reads. With m_c the mean of class c, m the mean of all m_c, and S
the covariance of the units around their classes' means, and lambda = 0.3 tr H / n:

    A = S + lambda / n    D_c = (m_c - m)^T A^-1 (m_c - m)    familiarity = max_c (h - m)^T A^-1 (m_c - m) - D_c / 2

That is the logarithm of N(h; m_c, A) / N(h; m, A): how much likelier the nearest class is than the mean of all. The
paper's second Gaussian has a covariance of its own; with A in both, the squares cancel, and the score is linear in h.

With W the regression of labels on centred units and K = (m_c - m)^T W, Woodbury's identity gives A^-1 (m_c - m) as the
columns of C W (I - K)^-1. So one solution serves, and what holds of the regression holds here: tasks in any order,
taken out or put in, give the familiarity of the learner that saw them alone.

How familiar are known inputs that were not learned from? For each class of a task, the C values whose maximum is taken
are about Gaussian. Their mean and covariance follow from the task's own sums, as they are for an example that is left
out (generalised cross-validation, as in `softtf.statistics.centred_ridge`). The maximum is drawn from these Gaussians.

With few examples three things count. A class of fewer examples has more leverage, as all classes weigh the same. The
covariance of n_t examples around their classes' means is divided by n_t less the classes. And the mean of n_c examples
is uncertain itself, so that a new example's variance is 1 + 1/n_c times that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from softtf.statistics.centred_ridge import MOST_LEVERAGE, RIDGE, Centred, centred, trace_of
from softtf.statistics.ridge_sums import RidgeSums, are_integers
from softtf.statistics.shares import Share, all_labels, local_numbers

DRAWS, LEAST_DRAWS = 20_000, 20  # in all; of each class of a task
AT_ONCE = 2**24  # values drawn at a time: 128 MB


@dataclass(frozen=True)
class Familiarity:
    """The familiarity of inputs, and that of known inputs which it is compared with.

    Attributes:
        weights: [M, labels].
        bias: [labels].
        known: [draws], familiarities of known inputs in ascending order.
        share: [draws], the share of known inputs that are less familiar than each of them, from 0 to 1.
    """

    weights: Tensor
    bias: Tensor
    known: Tensor
    share: Tensor

    def by_label(self, units: Tensor) -> Tensor:
        """Return by how much each label is likelier than the mean of all, in logarithms [n, labels]; units: [n, M]."""
        return units @ self.weights.to(units) + self.bias.to(units)

    def unknown(self, units: Tensor) -> Tensor:
        """Return the share of known inputs that are more familiar than each input [n], from 0 to 1; units: [n, M]."""
        found = self.by_label(units).amax(1).cpu().double()
        place = torch.searchsorted(self.known, found)
        return 1 - torch.cat([self.share, torch.ones(1, dtype=torch.float64)])[place]


@torch.no_grad()
def familiarity(shares: Sequence[Share], size: int) -> Familiarity:
    """Return the familiarity that follows from the sums of all shares.

    Args:
        shares: of at least two labels.
        size: M.

    Raises:
        TrainingError: they are the sums of no examples.
    """
    count = int(all_labels(shares).max()) + 1
    sums = RidgeSums.total(shares, "", size, count)
    least = 1.0 if are_integers(shares[0].tensors, "") else torch.finfo(torch.float32).tiny
    found = centred(sums, least, RIDGE)
    apart = sums.cross / sums.counts.clamp_min(1) - found.centre[:, None] * found.present
    pooled = found.weights.T @ sums.scatter(apart + found.centre[:, None]) @ found.weights
    pooled /= max(1.0, found.examples - found.labels)
    del sums
    explained = apart.T @ found.weights  # K
    inverse = torch.linalg.inv(torch.eye(count, dtype=torch.float64) - explained) * found.labels
    squares = (explained @ inverse).diagonal()
    weights = found.weights @ inverse
    model = _Model(found, explained, inverse, squares, pooled)
    known, counts = zip(*(_drawn(share, size, count, model) for share in shares), strict=True)
    values, order = torch.cat(known).sort(stable=True)
    below = torch.cat(counts)[order].cumsum(0)
    share = (below - torch.cat(counts)[order]) / below[-1]
    return Familiarity(weights.float(), (-found.centre @ weights - squares / 2).float(), values, share)


class _Model(NamedTuple):
    """What familiarities are drawn by.

    regression: of labels on units. explained: K [labels, labels]. inverse: (I - K)^-1 times the number of labels.
    squares: D_c [labels]. pooled: [labels, labels], the covariance of all examples' scores around their classes' means.
    """

    regression: Centred
    explained: Tensor
    inverse: Tensor
    squares: Tensor
    pooled: Tensor


def _drawn(share: Share, size: int, count: int, model: _Model) -> tuple[Tensor, Tensor]:
    """Return familiarities of inputs of a share's classes as if they were left out, and the examples that each is for.

    An example that is left out, of leverage l, has y - s' = (y - s) / (1 - l). All of a class are taken to have the
    class's mean leverage.
    """
    found, numbers = model.regression, local_numbers(share.labels)[0]
    own = RidgeSums.total([share._replace(labels=torch.arange(len(numbers)))], "", size, len(numbers))
    examples, means = own.counts, own.cross / own.counts.clamp_min(1)
    scatter, freedom = own.scatter(means), float(own.counts.sum()) - len(numbers)
    kept = 1 - _leverages(scatter, examples, model.explained.diagonal()[numbers], found)
    spread = found.weights.T @ scatter @ found.weights / freedom if freedom > 0 else model.pooled
    covariance = model.inverse.T @ spread @ model.inverse
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    deviations = vectors.T * values.clamp_min(0).sqrt()[:, None]
    right = torch.eye(count, dtype=torch.float64)[numbers] - found.present / found.labels
    scores = right - (right - (means - found.centre[:, None]).T @ found.weights) / kept[:, None]
    draws = max(LEAST_DRAWS, DRAWS // count)
    generator = torch.Generator().manual_seed(0)
    at_once, found_maxima = max(1, AT_ONCE // (draws * count)), []
    centres, scales = scores @ model.inverse - model.squares / 2, (1 + 1 / examples).sqrt() / kept
    for centre, scale in zip(centres.split(at_once), scales.split(at_once), strict=True):
        noise = torch.randn(len(centre), draws, count, generator=generator, dtype=torch.float64)
        found_maxima.append((centre[:, None] + noise * scale[:, None, None] @ deviations).amax(2).flatten())
    return torch.cat(found_maxima), (examples[:, None] / draws).expand(-1, draws).flatten()


def _leverages(scatter: Tensor, examples: Tensor, explained: Tensor, found: Centred) -> Tensor:
    """Return the mean leverage of the examples of each class of a share [classes], at most MOST_LEVERAGE.

    With A = H + lambda I and H the scatter of all n examples, it is w (tr A^-1 S / n_t + d^T A^-1 d + 1/n). S is the
    scatter of the share's n_t examples around their classes' means, d the class's mean less the mean of all, and w the
    weight of the class's examples.

    Args:
        scatter: S [M, M].
        examples: [classes], each at least 1.
        explained: [classes], their values on the diagonal of K, which is n / C times d^T A^-1 d.
        found: the regression over all shares.
    """
    within = trace_of(scatter @ found.inverse) / float(examples.sum())
    around = explained * found.labels / found.examples
    weight = found.examples / (found.labels * examples)
    return (weight * (within + around + 1 / found.examples)).clamp(0, MOST_LEVERAGE)

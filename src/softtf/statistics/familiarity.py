"""How familiar an input looks to a learner, by the sums of its ridge regression; nothing more is kept.

It is the relative Mahalanobis distance of Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD
Detection" (2021), on the units h that the regression reads. With m_c the mean of class c, m the mean of all m_c, and S
the covariance of the units around their classes' means:

    A = S + lambda / n    D_c = (m_c - m)^T A^-1 (m_c - m)    familiarity = max_c (h - m)^T A^-1 (m_c - m) - D_c / 2

That is the logarithm of N(h; m_c, A) / N(h; m, A): how much likelier the nearest class is than the mean of all. The
paper's second Gaussian has a covariance of its own; with A in both, the squares cancel, and the score is linear in h.

With W the regression of labels on centred units and K = (m_c - m)^T W, Woodbury's identity gives A^-1 (m_c - m) as the
columns of C W (I - K)^-1. So one solution serves, and what holds of the regression holds here: tasks in any order,
taken out or put in, give the familiarity of the learner that saw them alone.

How familiar are known inputs that were not learned from? For each class of a task, the C values whose maximum is taken
are about Gaussian. Their mean and covariance follow from the task's own sums, as they are for an example that is left
out (generalised cross-validation, as in `softtf.statistics.exact_ridge`). The maximum is drawn from these Gaussians.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.statistics.exact_ridge import MOST_LEVERAGE, Centred, centred
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
    found = centred(sums, least)
    apart = sums.cross / sums.counts.clamp_min(1) - found.centre[:, None] * found.present
    del sums
    explained = apart.T @ found.weights  # K
    inverse = torch.linalg.inv(torch.eye(count, dtype=torch.float64) - explained) * found.labels
    squares = (explained @ inverse).diagonal()
    weights = found.weights @ inverse
    known, counts = zip(*(_drawn(share, size, count, found, inverse, squares) for share in shares), strict=True)
    values, order = torch.cat(known).sort(stable=True)
    below = torch.cat(counts)[order].cumsum(0)
    share = (below - torch.cat(counts)[order]) / below[-1]
    return Familiarity(weights.float(), (-found.centre @ weights - squares / 2).float(), values, share)


def _drawn(
    share: Share, size: int, count: int, found: Centred, inverse: Tensor, squares: Tensor
) -> tuple[Tensor, Tensor]:
    """Return familiarities of inputs of a share's classes as if they were left out, and the examples that each is for.

    An example that is left out, of leverage l, has y - s' = (y - s) / (1 - l), and all are taken to have the mean
    leverage.
    """
    numbers, _ = local_numbers(share.labels)
    own = RidgeSums.total([share._replace(labels=torch.arange(len(numbers)))], "", size, len(numbers))
    means = own.cross / own.counts.clamp_min(1)
    kept = 1 - min(found.leverage, MOST_LEVERAGE)
    spread = found.weights.T @ (own.scatter(means) / own.counts.sum()) @ found.weights
    covariance = inverse.T @ spread @ inverse / kept**2
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    right = torch.eye(count, dtype=torch.float64)[numbers] - found.present / found.labels
    scores = right - (right - (means - found.centre[:, None]).T @ found.weights) / kept
    draws = max(LEAST_DRAWS, DRAWS // count)
    generator = torch.Generator().manual_seed(0)
    found_maxima = []
    for centres in (scores @ inverse - squares / 2).split(max(1, AT_ONCE // (draws * count))):
        noise = torch.randn(len(centres), draws, count, generator=generator, dtype=torch.float64)
        each = centres[:, None] + noise * values.clamp_min(0).sqrt() @ vectors.T
        found_maxima.append(each.amax(2).flatten())
    return torch.cat(found_maxima), (own.counts[:, None] / draws).expand(-1, draws).flatten()

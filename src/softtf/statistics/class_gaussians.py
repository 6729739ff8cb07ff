"""One Gaussian per class; features of old classes are drawn from it, as no examples of theirs are kept.

A class c with features f has the mean m_c and the full covariance S_c = cov(f) + 1e-4 I = L L^T (Cholesky). SLCA, MOS,
TUNA and HiDe-Prompt align their classifiers on draws m_c + L z. With fewer examples than dimensions, the 1e-4 alone
makes S_c positive definite.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from softtf.errors import TrainingError
from softtf.files.tensor_form import Forms, TensorForm

MEANS, FACTORS = "means", "factors"
RIDGE = 1e-4


def gaussian_forms(columns: int, dim: int) -> Forms:
    """Return the forms of the Gaussians of `columns` classes: 2 dim (dim + 3) bytes each."""
    return {MEANS: TensorForm((columns, dim)), FACTORS: TensorForm((columns, dim * (dim + 1) // 2))}


def add_gaussians(known: Mapping[str, Tensor], features: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Return the known Gaussians, followed by those of a task's classes.

    Args:
        known: the Gaussians of earlier tasks; empty if there are none.
        features: [n, dim], on the CPU.
        classes: [n], from 0, of the task's own classes; each has an example.

    Returns:
        `means` [classes, dim] and `factors` [classes, dim (dim + 1) / 2], the lower triangle of L, in float32.

    Raises:
        TrainingError: a feature is not finite.
    """
    own = [features[classes == c].double() for c in range(int(classes.max()) + 1)]
    means, factors = (torch.stack(parts).float() for parts in zip(*map(_gaussian, own), strict=True))
    if not known:
        return {MEANS: means, FACTORS: factors}
    return {MEANS: torch.cat([known[MEANS], means]), FACTORS: torch.cat([known[FACTORS], factors])}


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the lower triangle of the factor of a class's features [n, dim]."""
    mean, dim = features.mean(0), features.shape[1]
    apart = features - mean
    covariance = apart.T @ apart / max(1, len(features) - 1)
    covariance.diagonal().add_(RIDGE)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed or not mean.isfinite().all():
        raise TrainingError("a feature of the task is not finite, or too large; try a lower learning rate")
    rows, columns = torch.tril_indices(dim, dim)
    return mean, factor[rows, columns]


class GaussianDraws:
    """Draws features of all classes.

    Args:
        known: the Gaussians, as `add_gaussians` returns them.
        device: where features are drawn; the random numbers come from the CPU.
    """

    def __init__(self, known: Mapping[str, Tensor], device: torch.device) -> None:
        self.means = known[MEANS].to(device)
        classes, dim = self.means.shape
        rows, columns = torch.tril_indices(dim, dim)
        self.factors = torch.zeros(classes, dim, dim, device=device)
        self.factors[:, rows, columns] = known[FACTORS].to(self.factors)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return `count` features of each class [classes * count, dim], in a random order, and their classes."""
        classes, dim = self.means.shape
        noise = torch.randn(classes, count, dim, generator=generator).to(self.means)
        drawn = (self.means[:, None] + noise @ self.factors.mT).flatten(0, 1)
        order = torch.randperm(len(drawn), generator=generator).to(drawn.device)
        return drawn[order], (order // count)

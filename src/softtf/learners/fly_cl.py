"""Fly-CL: a ridge regression on a sparse random projection of frozen features, of which the largest values are kept.

"Fly-CL: A Fly-Inspired Framework for Enhancing Efficient Decorrelation and Reduced Training Time in
Pre-trained Model-based Continual Representation Learning", ICLR 2026; its code is gfyddha/Fly-CL. P has M rows, each
with N(0, 1) values at random places and zeros elsewhere:

    h = top_k(P q)     G = sum h h^T     C = sum h y^T     W = (G + lambda I)^-1 C

top_k keeps the k largest values of a sample and sets the others to zero. Lambda is chosen by generalised
cross-validation on the newest task's h, in closed form.

What differs here (docs/methods.md): lambda is the geometric mean of the tasks' choices, and all labels have the same
weight (`TaskRidge`), so that a small task does not undo what large ones taught. On any width, a row reads the share
300/768 of the features. The grid of lambda is relative to the mean of h^2. Sums are in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone
from softtf.config.bounds import Share
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormSpec
from softtf.learners.ridge import RidgeLearner
from softtf.seeds import derive_seed
from softtf.statistics.base import Dimension
from softtf.statistics.random_ridge import ROWS
from softtf.statistics.ridge_sums import RidgeSums, mean_square
from softtf.statistics.task_ridge import TaskRidge

FACTORS = tuple(10.0**exponent for exponent in range(1, 7))  # of the mean of h^2
"""The grid of lambda. The published one is 10^6 to 10^9 for ViT-B's raw features, about 10^3 to 10^6 times the mean of
h^2, with 5,000 examples per task; with fewer examples a smaller lambda can be best."""


@dataclass(frozen=True)
class FlyCL(ClosedFormSpec, kind="fly-cl"):
    """Sparse random projection, each sample's largest values, and one ridge regression over all classes seen.

    Attributes:
        projection: M, the dimensions that features are projected to. A task's sums take 2 M (M + 1) bytes, and 4 M per
            class.
        degree: the share of the features that each dimension reads.
        active: the share of the dimensions that is kept per sample.
    """

    title = "Fly-CL (frozen features)"

    projection: Dimension = 10_000
    degree: Share = 300 / 768
    active: Share = 0.3

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return FlyCLLearner(backbone, seed, FlyRidge(backbone.dim, self, seed))


class FlyRidge(TaskRidge):
    """Ridge regression on h; P [M, dim] is drawn from the seed and never stored."""

    projection: Tensor

    def __init__(self, dim: int, spec: FlyCL, seed: int) -> None:
        super().__init__(spec.projection)
        self.kept = max(1, int(spec.active * self.size))
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        projection = torch.randn(self.size, dim, generator=generator)
        places = torch.rand(self.size, dim, generator=generator).argsort(1)[:, : max(1, round(spec.degree * dim))]
        chosen = torch.zeros_like(projection).scatter_(1, places, 1.0)
        self.register_buffer("projection", projection * chosen, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return h = top_k(P q) [n, M] of features [n, dim]."""
        values = F.linear(features, self.projection.to(features))
        largest = values.topk(self.kept, 1)
        return torch.zeros_like(values).scatter_(1, largest.indices, largest.values)

    def choose(self, old: RidgeSums, new: RidgeSums, features: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return the factor of least generalised cross-validation on the task's own h, and that error."""
        few = len(features) <= self.size
        h = torch.cat([self(part).cpu() for part in features.split(ROWS)]) if few else None
        found = generalised_cross_validation(new, h, labels)
        best = min(found, key=lambda factor: found[factor])
        return best, found[best]


def generalised_cross_validation(sums: RidgeSums, h: Tensor | None, labels: Tensor) -> dict[float, float]:
    """Return (|Y - Yhat|^2 / n) / (1 - df / n)^2 for each of FACTORS (Golub, Heath and Wahba, 1979).

    For lambda, with the eigenvalues s and eigenvectors U of H H^T: Yhat is U diag(s / (s + lambda)) U^T Y, and df is
    the sum of s / (s + lambda). Without H they come from H^T H and H^T Y, the `sums`.

    Args:
        sums: of these examples alone.
        h: [n, M]; None where n is above M: then the sums are smaller.
        labels: [n].
    """
    n = len(labels)
    if h is not None:
        wide = h.double()
        squares, vectors = torch.linalg.eigh(wide @ wide.T)
        along = vectors.T @ F.one_hot(labels, len(sums.counts)).double()  # U^T Y
    else:
        squares, vectors = torch.linalg.eigh(sums.gram)
        real = squares > squares[-1] * torch.finfo(torch.float64).eps * n
        squares = squares[real]
        along = (vectors[:, real].T @ sums.cross) / squares.sqrt()[:, None]
    squares, power = squares.clamp_min(0), along.square().sum(1)
    scale = mean_square(sums.gram, n)

    def score(ridge: float) -> float:
        residual = n - float(power.sum()) + float(((ridge / (squares + ridge)).square() * power).sum())
        return residual / n / (1 - float((squares / (squares + ridge)).sum()) / n) ** 2

    return {factor: score(factor * scale) for factor in FACTORS}


class FlyCLLearner(RidgeLearner):
    """The regression is `FlyRidge`."""

    error_name = "generalised_cross_validation"

"""Ridge regression of labels on random units of standardised features, by whole-number sums: exact in any order.

As `random_ridge` (RanPAC, McDonnell et al., NeurIPS 2023), with four differences. The features have several views, and
each has units of its own. Units are rounded to whole numbers, so that their sums are exact: tasks learned in any order,
or sums of several learners added up, give the same bits. Scores are centred, and lambda is fixed: with H the scatter of
the units around their mean, over n examples, W = (H + lambda I)^-1 C and lambda = 0.3 tr H / n. So nothing is held out,
and half the sums are kept.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.seeds import derive_seed
from softtf.statistics.random_ridge import add_counts
from softtf.statistics.ridge_sums import RidgeSums
from softtf.statistics.temperature import log_shares

RIDGE = 0.3  # chosen on training images of CIFAR-100 (docs/results.md), of texts alike
UNIT = 16  # a projection of features of the usual range has this standard deviation, before it is rounded
FLOOR, TEMPERATURE = 0.05, 0.27  # of the probabilities; scores are 1 for the right label at best, and 0 for others
ROWS = 1024  # of h at once


@dataclass(frozen=True)
class ExactRidgeSolution:
    """What one more task's data make of the regression.

    sums: what is kept; weights: [M, columns] and bias: [columns], float32, so that scores are h weights + bias;
    ridge: lambda.
    """

    sums: dict[str, Tensor]
    weights: Tensor
    bias: Tensor
    ridge: float


class ExactRidge(nn.Module):
    """The projections of all views, drawn from the seed and never stored, and the regression on their units.

    The sums take 2 M (M + 1) + 4 M labels bytes, 50 MB for M = 5,000 (twice that once a number exceeds 2^31, after some
    million examples).

    Args:
        views: of the features.
        dim: of each.
        size: M, a multiple of the views.
        seed: of the projections.
    """

    projection: Tensor

    def __init__(self, views: int, dim: int, size: int, seed: int) -> None:
        super().__init__()
        assert size % views == 0
        self.views, self.dim, self.size = views, dim, size
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        projection = torch.randn(views, dim, size // views, generator=generator) * (UNIT / math.sqrt(dim))
        self.register_buffer("projection", projection, persistent=False)

    def shapes(self, columns: int) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of the sums after so many logit columns."""
        gram = {"gram": (self.size * (self.size + 1) // 2,), "sums": (self.size, None), "examples": (None,)}
        return {**gram, "counts": (columns,), "labels": (columns,)}

    def forward(self, features: Tensor) -> Tensor:
        """Return h = relu(R_v^T x_v), all views' side by side, [n, M], of standardised features [n, views dim]."""
        by_view = features.unflatten(1, (self.views, self.dim)).transpose(0, 1)
        return F.relu(by_view @ self.projection.to(features.dtype)).transpose(0, 1).flatten(1)

    @torch.no_grad()
    def learn(
        self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor
    ) -> ExactRidgeSolution:
        """Add a task's examples to the sums and solve.

        Args:
            known: the `sums` of the tasks before; empty if there are none.
            features: standardised, [n, views dim].
            columns: [n].
            labels: [columns so far], the label number of each; a label that came before has its number again.
        """
        own = labels[columns]
        sums = RidgeSums.read(known, "", self.size, int(labels.max()) + 1)
        for chunk, of_chunk in zip(features.split(ROWS), own.split(ROWS), strict=True):
            sums.add(self(chunk.to(self.projection)).cpu().double().round_(), of_chunk)
        weights, bias, ridge = solve_centred(sums)
        counts = {"counts": add_counts(known, columns, len(labels)), "labels": labels}
        kept = sums.kept("", whole=True) | counts
        return ExactRidgeSolution(kept, weights[:, labels].float(), bias[labels].float(), ridge)

    @staticmethod
    def logits(known: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """Return logits [n, columns] of scores, log(max(s, 0) + FLOOR) / TEMPERATURE: their softmax is a probability.

        A softmax of the scores themselves is too sure of what is unlikely and not sure enough of what is likely. The
        temperature is nearly the same for 2 classes and 100, 5 images a class and 100, images and texts
        (docs/results.md), and a constant can be neither stale nor the newest task's. Columns of one label share its
        probability by their examples.
        """
        shares = log_shares(known["counts"], known["labels"]).to(scores)
        return scores.clamp_min(0).add(FLOOR).log() / TEMPERATURE + shares


def solve_centred(sums: RidgeSums) -> tuple[Tensor, Tensor, float]:
    """Return the ridge regression of labels, which weigh the same, on h with a free constant, and its lambda.

    Scores are h weights + bias. weights: [M, labels]; bias: [labels].
    """
    moments, n = sums.moments(balance=True), float(sums.counts.sum())
    count = moments.weight
    centre = moments.cross.sum(1) / count
    scatter = (moments.gram / count).addr_(centre, centre, alpha=-1).mul_(n)
    ridge = max(RIDGE * float(scatter.trace()) / n, 1.0)
    scatter.diagonal().add_(ridge)
    present = (sums.counts > 0).double()
    cross = (moments.cross - torch.outer(centre, present)) * (n / count)
    weights = torch.cholesky_solve(cross, torch.linalg.cholesky(scatter))
    return weights, present / count - centre @ weights, ridge

"""Ridge regression of labels on random units of standardised features, by integer sums that are exact in any order.

It is `random_ridge` (RanPAC, McDonnell et al., NeurIPS 2023) with four differences. The features have several views,
each with its own units. Units are rounded to integers, so that sums are exact: tasks in any order, or the added sums of
several learners, give the same bits. Scores are centred. Lambda follows from the numbers of examples and labels.
Nothing is held out, so there are half as many sums to keep.

How it is solved, and how its scores are calibrated: `softtf.statistics.centred_ridge`. The same solution also gives
the classes' densities (`softtf.statistics.class_densities`), and `ExactRidge.logits` pools both.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.devices.processes import mine
from softtf.files.tensor_form import Forms
from softtf.seeds import derive_seed
from softtf.statistics.centred_ridge import calibrated, centred, new_scores
from softtf.statistics.class_densities import class_densities
from softtf.statistics.random_ridge import column_counts, column_forms, share_joined, share_united, share_without
from softtf.statistics.ridge_sums import RidgeSums
from softtf.statistics.shares import Share, all_labels, local_numbers, own_share
from softtf.statistics.temperature import log_shares

UNIT = 16  # the standard deviation, before rounding, of the projection of features in their usual range
FLOOR, SHARE, TEMPERATURE = 0.02, 0.5, 0.27  # of the regression's probabilities (docs/results-details.md)
OF_REGRESSION, OF_DENSITIES = 0.5, 0.4  # of the pool (docs/results-details.md)
SHARPNESS, OF_LIFT, NOISE, MANY, OF_MANY = 0.44, 0.15, 0.05, 100, 0.15  # of `sharpness_of`
ROWS = 1024  # rows of h at once


@dataclass(frozen=True)
class ExactRidgeSolution:
    """The regression over all shares; scores are h weights + bias, log-densities h densities + densities_bias.

    Attributes:
        weights: [M, columns], float32.
        bias: [columns], float32.
        densities: [M, columns], float32.
        densities_bias: [columns], float32.
        sharpness: [], what the pool of both is multiplied by (`sharpness_of`).
        ridge: lambda.
        counts: [columns], the examples of each column.
        labels: [columns], its label number.
    """

    weights: Tensor
    bias: Tensor
    densities: Tensor
    densities_bias: Tensor
    sharpness: Tensor
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
        labels, counts = all_labels(shares), column_counts(shares)
        found = centred(RidgeSums.total(shares, "", self.size, int(labels.max()) + 1))
        weights, bias = (part[..., labels].float() for part in calibrated(found))
        densities, densities_bias = (part[..., labels].float() for part in class_densities(found))
        sharpness = torch.tensor(sharpness_of(*new_scores(found), found.labels, found.examples))
        return ExactRidgeSolution(weights, bias, densities, densities_bias, sharpness, found.ridge, counts, labels)

    @staticmethod
    def logits(known: Mapping[str, Tensor], scores: Tensor, densities: Tensor | None = None) -> Tensor:
        """Return log P of each column, up to a constant [n, columns].

        Of scores s alone, with C labels, it is log(max(s, 0) + 0.02 + 1 / 2C) / 0.27. With the log-densities of
        `class_densities` it is half of that plus 0.4 times these, all times the sharpness. Columns of one label share
        its probability in proportion to their examples.

        The softmax of the scores alone is calibrated. A softmax of the scores themselves gives unlikely classes too
        much and likely ones too little. Once scores are scaled towards their mean by their slope, one temperature fits
        2 and 100 classes, 5 and 100 images per class, images and texts (docs/results-details.md). A constant is never
        outdated and favours no task.

        Args:
            known: `counts`, `labels` and, for densities, `sharpness` of an `ExactRidgeSolution`.
            scores: [n, columns].
            densities: [n, columns].
        """
        shares = log_shares(known["counts"], known["labels"]).to(scores)
        floor = FLOOR + SHARE / (known["labels"].max().double() + 1)
        logits = scores.clamp_min(0).add(floor).log() / TEMPERATURE
        if densities is not None:
            logits = known["sharpness"].to(scores) * (OF_REGRESSION * logits + OF_DENSITIES * densities)
        return logits + shares


def sharpness_of(above: float, spread: float, labels: float, examples: float) -> float:
    """Return what multiplies the pool of scores and densities, so that its softmax is calibrated.

    It is 0.44 (1 + C a)^0.15 / ((r + 0.05)^0.5 (1 + m / 100)^0.15) for m examples of a label on average. The right
    label's score is 1 + C a times that of chance; the higher, the surer the pool may be. r is the mean |s' - 1/C|^2
    beyond the a^2 C / (C - 1) that scores without noise have. From some hundred examples on, both tell too much, which
    m makes up for. Chosen on training images and texts (docs/results-details.md).

    Args:
        above: a, the mean s'_right - 1/C of new examples' scores s' (`new_scores`); if it is negative, 0.
        spread: their mean |s' - 1/C|^2.
        labels: C.
        examples: n = C m.
    """
    lift = 1 + labels * max(above, 0.0)
    noise = max(spread - above**2 * labels / max(labels - 1, 1), 0.0)
    return float(SHARPNESS * lift**OF_LIFT / ((noise + NOISE) ** 0.5 * (1 + examples / labels / MANY) ** OF_MANY))

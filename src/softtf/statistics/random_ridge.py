"""Ridge regression of labels on a random projection of frozen features: phase 2 of RanPAC, Algorithm 1.

McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for Continual Learning", NeurIPS 2023. With
h = relu(P^T q(x)) [M] and the one-hot label y: G = sum w h h^T and C = sum w h y^T over all examples of all tasks, and
W = (G + lambda I)^-1 C. Sums forget nothing, so W is the same as for all tasks' data at once, in any order.

The paper has w = 1. Here all labels have the same weight, whatever their examples and tasks, unless `balance` is off
(`RidgeSums.moments`). If all labels have equally many examples, W is the same.

The paper chooses lambda on a fifth of the newest task. Here that fifth of every task has its own sums, and lambda is
chosen on all of them: a task of one class says nothing about lambda and must not choose it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.devices.processes import mine
from softtf.errors import TrainingError
from softtf.files.tensor_form import INTEGERS, Forms, TensorForm
from softtf.seeds import derive_seed
from softtf.statistics.ridge_sums import Moments, RidgeSums, mean_square, solve_positive
from softtf.statistics.shares import Share, all_labels, joined_columns, local_numbers, own_share, side_by_side
from softtf.statistics.temperature import FittedMean, first_of_five, fit_temperature, log_shares

FACTORS = tuple(10.0**exponent for exponent in range(6, -2, -1))  # lambda, as a multiple of the mean of h^2
UNCHOSEN = 1e4  # the factor if no task had an example to hold out
SHARPNESS = FittedMean("sharpness", default=0.28)  # on CIFAR-100 with the bundled ViT, for 5 and 100 classes
LEAST_SCORE = 1e-3  # a right label's score less far above the mean is noise
ROWS = 4096  # rows of h at once


@dataclass(frozen=True)
class RidgeSolution:
    """The regression over all shares.

    Attributes:
        weights: W [M, columns] in float32; the columns of one label are equal.
        log_shares: [columns], as `log_shares` returns them.
        ridge: lambda.
        error: the mean squared error on the held-out examples.
        temperature: the logits are h W / temperature + log_shares.
    """

    weights: Tensor
    log_shares: Tensor
    ridge: float
    error: float
    temperature: float


class Chosen(NamedTuple):
    """Lambda, its error on the held-out examples, and what it was chosen on.

    whole, held: the moments of all examples, and of the held-out ones. fitted: W of the others. right: how far the
    right label's score is above the mean.
    """

    ridge: float
    error: float
    whole: Moments
    held: Moments
    fitted: Tensor
    right: float


class RandomRidge(nn.Module):
    """The projection P [dim, M] ~ N(0, 1), drawn from the seed and never saved, and the regression on it.

    G and C are summed and solved in float64 on the CPU. Each task's are kept in float32, over all its examples and over
    the held-out ones. They take 4 M (M + 1) + 8 M labels bytes; with 10 labels that is 4.1 MB for M = 1,000, 16.2 MB
    for 2,000 and 401 MB for 10,000. While a task is learned, some 60 M^2 bytes are used: 0.24 GB for M = 2,000 and 6 GB
    for 10,000.

    As labels are added, the best temperature falls, and so does the distance of the right label's score from the mean
    score. Their ratio stays (docs/results.md). It is fitted on each task's held-out examples and averaged over tasks
    (`SHARPNESS`). The temperature is this average times that distance on all tasks' held-out examples.

    Args:
        dim: the dimension of the features.
        size: M.
        seed: the seed of the projection.
        ridge: lambda, for examples of weight 1; None chooses it.
        balance: whether all labels have the same weight; otherwise all examples have.
    """

    projection: Tensor

    def __init__(self, dim: int, size: int, seed: int, ridge: float | None = None, balance: bool = True) -> None:
        super().__init__()
        self.size, self.ridge, self.balance = size, ridge, balance
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        self.register_buffer("projection", torch.randn(dim, size, generator=generator), persistent=False)

    def forms(self, labels: Tensor) -> Forms:
        """Return the forms of a share; labels: [columns], the label number of each of its columns."""
        count = int(labels.max()) + 1
        sums = {**RidgeSums.forms("", self.size, count, 1, 0), **RidgeSums.forms("held_", self.size, count, 0, 0)}
        return {**sums, **column_forms(labels), SHARPNESS.name: SHARPNESS.form}

    def forward(self, features: Tensor) -> Tensor:
        """Return h = relu(P^T q) [n, M] of features [n, dim]."""
        return F.relu(features @ self.projection.to(features.dtype))

    @torch.no_grad()
    def learn(
        self, before: Sequence[Share], features: Tensor, columns: Tensor, labels: Tensor
    ) -> tuple[Share, RidgeSolution]:
        """Return the newest task's share, and the regression with it.

        Lambda minimises the squared error on the held-out fifth of all tasks' examples, with W fitted to the rest. Its
        values are multiples of the mean of h^2, so that the scale of the features does not matter. Every fifth example
        of a class is held out; nothing is random. Of the share only the sharpness depends on the tasks before.

        Args:
            before: the shares of the tasks before.
            features: [n, dim].
            columns: [n], the logit column of each example.
            labels: [columns so far], the label number of each column; a repeated label keeps its number.

        Raises:
            TrainingError: lambda is too small for these features.
        """
        own, held = labels[columns], first_of_five(columns)
        share = self._summed(features, *own_share(before, columns, labels), held)
        chosen = self._choose([*before, share])

        count = chosen.fitted.shape[1]
        each = torch.bincount(own[held], minlength=count).double().reciprocal()
        weights = each[own] if self.balance else torch.ones(len(own), dtype=torch.float64)
        found = self._temperature(chosen.fitted, features, own, held, weights) if count > 1 else None
        sharpness = SHARPNESS.kept(None if found is None else found / chosen.right, float(weights[held].sum()))
        share = share._replace(tensors={**share.tensors, **sharpness})
        return share, self._solution([*before, share], chosen)

    @torch.no_grad()
    def solve(self, shares: Sequence[Share]) -> RidgeSolution:
        """Return the regression over the examples of all shares, as `learn` does.

        Raises:
            TrainingError: lambda is too small for these features.
        """
        return self._solution(shares, self._choose(shares))

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
        """Return a task's share of the classes at `kept` (`RidgeSums.without`)."""
        return share_without(share, self.size, kept, "", "held_")

    def joined(self, one: Share, more: Share) -> dict[str, Tensor]:
        """Return a task's share with that of more of its examples added (`share_joined`)."""
        fitted = SHARPNESS.joined(one.tensors, more.tensors)
        return {**share_joined(one, more, self.size, "", "held_"), **fitted}

    def united(self, shares: Sequence[Share]) -> dict[str, Tensor]:
        """Return the share of the tasks of some shares together (`share_united`)."""
        fitted = SHARPNESS.joined(*(share.tensors for share in shares))
        return {**share_united(shares, self.size, "", "held_"), **fitted}

    def _solution(self, shares: Sequence[Share], chosen: Chosen) -> RidgeSolution:
        labels = all_labels(shares)
        return RidgeSolution(
            weights=solve(chosen.whole, chosen.ridge)[:, labels].float().contiguous(),  # as from a file: same rounding
            log_shares=log_shares(column_counts(shares), labels),
            ridge=chosen.ridge,
            error=chosen.error,
            temperature=SHARPNESS.value(*(share.tensors for share in shares)) * chosen.right,
        )

    def _summed(self, features: Tensor, columns: Tensor, labels: Tensor, held: Tensor) -> Share:
        """Return a task's sums over all its examples and over those held out; columns, labels: of the task alone."""
        numbers, local = local_numbers(labels)
        sums, held_sums = (RidgeSums.zeros(self.size, len(numbers)) for _ in range(2))
        for part, rows in ((held_sums, held), (sums, ~held)):
            for h, chunk in self._projected(features, mine(chunks(rows))):
                part.add(h, local[columns[chunk]])
            part.gather()
        counts = {"counts": torch.bincount(columns, minlength=len(labels)), "labels": local}
        return Share(sums.add_sums(held_sums).kept("") | held_sums.kept("held_") | counts, labels)

    def _projected(self, features: Tensor, chunks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield h [chunk, M] in float64 and the indices [chunk] of the features in each chunk."""
        for chunk in chunks:
            yield self(features[chunk].to(self.projection)).cpu().double(), chunk

    def _choose(self, shares: Sequence[Share]) -> Chosen:
        """Choose lambda on the held-out examples of all shares."""
        count = int(all_labels(shares).max()) + 1
        sums, held_sums = (RidgeSums.total(shares, prefix, self.size, count) for prefix in ("", "held_"))
        fit, held = (sums - held_sums).moments(self.balance), held_sums.moments(self.balance)
        whole = sums.moments(self.balance)
        del sums, held_sums
        scale = mean_square(whole.gram, whole.weight)
        factors = FACTORS if held.weight else [UNCHOSEN]
        candidates = [self.ridge] if self.ridge is not None else [scale * factor for factor in factors]
        errors = {ridge: held_out_error(fit, held, ridge) for ridge in candidates}
        best = min(errors, key=lambda ridge: errors[ridge])
        fitted = solve(fit, best)
        return Chosen(best, errors[best], whole, held, fitted, max(LEAST_SCORE, mean_right_score(fitted, held)))

    def _temperature(
        self, fitted: Tensor, features: Tensor, own: Tensor, held: Tensor, weights: Tensor
    ) -> float | None:
        """Return the best temperature for the scores of a task's held-out examples; None if there are none."""
        scored = [(h @ fitted, chunk) for h, chunk in self._projected(features, chunks(held))]
        if not scored:
            return None
        rows = torch.cat([chunk for _, chunk in scored])
        return fit_temperature(torch.cat([scores for scores, _ in scored]), own[rows], weights[rows])


def chunks(rows: Tensor) -> list[Tensor]:
    """Return the indices of the rows in a mask, at most `ROWS` at once."""
    return [chunk for chunk in rows.nonzero()[:, 0].split(ROWS) if len(chunk)]


def solve(moments: Moments, ridge: float) -> Tensor:
    """Return (gram + unit ridge I)^-1 cross [M, labels].

    Raises:
        TrainingError: G + ridge I is not positive definite because of rounding.
    """
    gram = moments.gram.clone()
    gram.diagonal().add_(ridge * moments.unit)
    small = f"the ridge {ridge:g} is too small for these features; leave it out and it is chosen"
    return solve_positive(gram, moments.cross, small)


def held_out_error(fit: Moments, held: Moments, ridge: float) -> float:
    """Return the mean squared error on the held-out examples of the W fitted to the others; inf if there is no such W.

    It is sum w |y - W^T h|^2 = sum w - 2 tr W^T C + tr W^T G W over the held-out examples, divided by sum w and by the
    number of labels.
    """
    if not held.weight:
        return 0.0
    try:
        weights = solve(fit, ridge)
    except TrainingError:
        return float("inf")
    total = held.weight - 2 * (weights * held.cross).sum() + (weights * (held.gram @ weights)).sum()
    return float(total) / held.weight / weights.shape[1]


def mean_right_score(weights: Tensor, held: Moments) -> float:
    """Return how far the right label's score is above the mean score, averaged over the held-out examples."""
    if not held.weight:
        return 0.0
    return float(((weights - weights.mean(1, keepdim=True)) * held.cross).sum()) / held.weight


def column_counts(shares: Sequence[Share]) -> Tensor:
    """Return the number of examples of each column, [columns of all shares]."""
    return side_by_side(shares, "counts")


def share_without(share: Mapping[str, Tensor], size: int, kept: Tensor, *prefixes: str) -> dict[str, Tensor]:
    """Return a task's share of the classes at `kept`: columns, and the sums of each prefix (`RidgeSums.without`)."""
    sums = (RidgeSums.without(share, prefix, size, kept) for prefix in prefixes)
    return {**share, **{name: value for part in sums for name, value in part.items()}, **columns_without(share, kept)}


def share_joined(one: Share, more: Share, size: int, *prefixes: str) -> dict[str, Tensor]:
    """Return a task's share with that of more of its examples added: columns, and the sums of each prefix."""
    sums = (RidgeSums.joined([one, more], prefix, size, len(one.labels)) for prefix in prefixes)
    return {**joined_columns(one, more), **{name: value for part in sums for name, value in part.items()}}


def share_united(shares: Sequence[Share], size: int, *prefixes: str) -> dict[str, Tensor]:
    """Return the share of the tasks of some shares together: their columns, and the sums of each prefix."""
    numbers, local = local_numbers(all_labels(shares))
    places = local.split([len(share.labels) for share in shares])
    within = [share._replace(labels=place) for share, place in zip(shares, places, strict=True)]
    sums = (RidgeSums.joined(within, prefix, size, len(numbers)) for prefix in prefixes)
    columns = {"counts": column_counts(shares), "labels": local}
    return {**columns, **{name: value for part in sums for name, value in part.items()}}


def columns_without(share: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    """Return `counts` and `labels` of a task's share of the classes at `kept`."""
    return {"counts": share["counts"][kept], "labels": torch.arange(len(kept))}


def column_forms(labels: Tensor) -> Forms:
    """Return the forms of `counts`, the examples of each logit column, and of `labels` [columns] itself."""
    return {
        "counts": TensorForm((len(labels),), INTEGERS, 1),
        "labels": TensorForm((len(labels),), INTEGERS, equal=labels),
    }

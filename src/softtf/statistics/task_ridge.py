"""Ridge regression of labels in which each task chooses lambda on its own data: what Fly-CL and LayUP share.

As in `random_ridge`, G = sum w h h^T and C = sum w h y^T over all examples of all tasks, W = (G + lambda I)^-1 C, all
labels have the same weight, and a label that several tasks teach is one label. There, a held-out fifth of the examples
has its own sums, on which lambda is chosen. Here each task chooses a lambda by the method's rule (`TaskRidge.choose`)
while its examples are there; the regression takes the geometric mean of these choices, weighted by examples.

As published, the newest task's choice is lambda for all. A task of a few examples would then choose for all others.
Here it moves lambda only a little, and a task of one label, which says nothing about lambda, does not choose. A lambda
that is too small for the rounding of the kept sums is raised until it is large enough.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn

from softtf.devices.processes import mine
from softtf.errors import TrainingError
from softtf.files.tensor_form import Forms
from softtf.statistics.centred_ridge import random_signs, trace_of
from softtf.statistics.random_ridge import (
    ROWS,
    UNCHOSEN,
    RidgeSolution,
    column_counts,
    column_forms,
    mean_right_score,
    share_joined,
    share_united,
    share_without,
    solve,
)
from softtf.statistics.ridge_sums import NO_EXAMPLES, Moments, RidgeSums, mean_square
from softtf.statistics.shares import Share, all_labels, local_numbers, own_share
from softtf.statistics.temperature import FittedMean, log_shares, mean_height

RIDGES = FittedMean("ridges", default=UNCHOSEN)  # in units of the mean of h^2
MOST_TENFOLDS = 20
HEIGHTS = 0.24  # chosen on training images of CIFAR-100 that were not learned from (docs/reliability.md)
PROBES, MOST_LEVERAGE = 256, 0.999  # a small lambda may leave nearly no error on what was learned from


class TaskRidge(nn.Module, ABC):
    """A map of features to h [n, size], and the regression on h.

    G and C are summed and solved in float64 on the CPU. Each task's are kept in float32: 2 M (M + 1) + 4 M labels bytes
    for M = `size`, which is 200 MB for 10,000 (10 labels). Learning a task takes about 36 M^2 bytes for the time of the
    solve; h is computed for `ROWS` examples at a time.

    The temperature of the scores follows from the sums too (`temperature_of`); no answer depends on it.

    Args:
        size: M.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forms(self, labels: Tensor) -> Forms:
        """Return the forms of a share; labels: [columns], the label number of each of its columns."""
        sums = RidgeSums.forms("", self.size, int(labels.max()) + 1)
        return {**sums, **column_forms(labels), RIDGES.name: RIDGES.form}

    @abstractmethod
    def choose(self, old: RidgeSums, new: RidgeSums, features: Tensor, labels: Tensor) -> tuple[float | None, float]:
        """Return the newest task's lambda, in units of the mean of h^2, and the error by which it was chosen.

        None as lambda: the task does not choose.

        Args:
            old: the sums of earlier tasks.
            new: the sums of the newest task, with as many labels.
            features: its examples [n, dim], of at least two labels.
            labels: [n], their labels.
        """

    @torch.no_grad()
    def learn(
        self, before: Sequence[Share], features: Tensor, columns: Tensor, labels: Tensor
    ) -> tuple[Share, RidgeSolution]:
        """Return the newest task's share, which includes its choice, and the regression with it.

        Args:
            before: the shares of earlier tasks.
            features: [n, dim].
            columns: [n], the logit column of each example.
            labels: [columns so far], the label number of each column; a repeated label keeps its number.

        Raises:
            TrainingError: the earlier shares contain no examples.
        """
        own, count = labels[columns], int(labels.max()) + 1
        own_columns, own_labels = own_share(before, columns, labels)
        numbers, local = local_numbers(own_labels)
        sums = RidgeSums.zeros(self.size, len(numbers))
        for part, of_part in mine(zip(features.split(ROWS), local[own_columns].split(ROWS), strict=True)):
            sums.add(self(part).cpu().double(), of_part)
        sums.gather()
        counts = {"counts": torch.bincount(own_columns, minlength=len(own_labels)), "labels": local}
        share = Share(sums.kept("") | counts, own_labels)

        chosen, error = None, 0.0
        if len(numbers) > 1:
            old = RidgeSums.total(before, "", self.size, count)
            chosen, error = self.choose(old, sums.among(numbers, count), features, own)
            del old
        share = share._replace(tensors={**share.tensors, **RIDGES.kept(chosen, len(own))})
        return share, replace(self.solve([*before, share]), error=error)

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
        """Return a task's share of the classes at `kept` (`RidgeSums.without`)."""
        return share_without(share, self.size, kept, "")

    def joined(self, one: Share, more: Share) -> dict[str, Tensor]:
        """Return a task's share with that of more of its examples added (`share_joined`)."""
        return {**share_joined(one, more, self.size, ""), **RIDGES.joined(one.tensors, more.tensors)}

    def united(self, shares: Sequence[Share]) -> dict[str, Tensor]:
        """Return the share of the tasks of some shares together (`share_united`)."""
        return {**share_united(shares, self.size, ""), **RIDGES.joined(*(share.tensors for share in shares))}

    @torch.no_grad()
    def solve(self, shares: Sequence[Share]) -> RidgeSolution:
        """Return the regression over the examples of all shares; the error of the choice is not known any more.

        Raises:
            TrainingError: the shares contain no examples.
        """
        labels = all_labels(shares)
        moments = RidgeSums.total(shares, "", self.size, int(labels.max()) + 1).moments(balance=True)
        chosen = RIDGES.value(*(share.tensors for share in shares))
        beside = torch.cat([moments.cross, random_signs(self.size, PROBES)], 1)  # for `temperature_of`
        asked = chosen * mean_square(moments.gram, moments.weight)
        solved, ridge = solve_raised(replace(moments, cross=beside), asked)
        weights, inverse = solved.tensor_split([moments.cross.shape[1]], 1)
        return RidgeSolution(
            weights=weights[:, labels].float().contiguous(),  # as if read from a file: products round the same way
            log_shares=log_shares(column_counts(shares), labels),
            ridge=ridge,
            error=0.0,
            temperature=temperature_of(moments, weights, inverse, ridge),
        )


def temperature_of(moments: Moments, weights: Tensor, inverse: Tensor, ridge: float) -> float:
    """Return the temperature of a regression's scores: HEIGHTS times `mean_height`.

    By generalised cross-validation (`slope_for_new`) a height r over seen examples is r' = (r - l (1 - 1/C)) / (1 - l)
    over those left out, with C labels of the same weight and l the mean leverage of an example.

    Args:
        moments: gram and cross of the regression.
        weights: W [M, labels].
        inverse: (gram + unit ridge I)^-1 Z [M, PROBES], with Z the `random_signs`.
        ridge: lambda.
    """
    chance, examples = 1 - 1 / moments.weight, moments.weight / moments.unit
    leverage = min((len(inverse) - ridge * moments.unit * trace_of(inverse)) / examples, MOST_LEVERAGE)
    seen = mean_right_score(weights, moments)
    return HEIGHTS * mean_height(seen, (seen - leverage * chance) / (1 - leverage))


def solve_raised(moments: Moments, ridge: float) -> tuple[Tensor, float]:
    """Return the solution [M, labels] and its lambda: the given one, times ten until the sums' rounding allows it.

    Raises:
        TrainingError: no lambda is large enough.
    """
    for raised in (ridge * 10**exponent for exponent in range(MOST_TENFOLDS)):
        with suppress(TrainingError):
            return solve(moments, raised), raised
    raise TrainingError(NO_EXAMPLES)

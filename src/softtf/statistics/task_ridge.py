"""Ridge regression of labels whose lambda every task chooses on its own data: what Fly-CL and LayUP have in common.

As `random_ridge`: G = sum w h h^T and C = sum w h y^T over all examples of all tasks, W = (G + lambda I)^-1 C, labels
weigh the same, and a label that several tasks teach is one label. There a fifth of the examples has sums of its own, on
which lambda is chosen; here each task chooses a lambda by the method's rule (`TaskRidge.choose`), while its examples
are there, and the regression takes the geometric mean of these choices, weighed by examples.

As published the newest task's choice is lambda for all. A task of a few examples would then choose for all others. So
here it moves lambda by little, and a task of one label, which says nothing about lambda, does not choose. A lambda
that is too small for the rounding of the kept sums is raised until it is not.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

from softtf.errors import TrainingError
from softtf.files.tensor_form import Forms
from softtf.statistics.random_ridge import (
    LEAST_SCORE,
    ROWS,
    SHARPNESS,
    UNCHOSEN,
    RidgeSolution,
    add_counts,
    column_forms,
    mean_right_score,
    solve,
)
from softtf.statistics.ridge_sums import NO_EXAMPLES, Moments, RidgeSums, mean_square
from softtf.statistics.temperature import FittedMean, log_shares

RIDGES = FittedMean("ridges", default=UNCHOSEN)  # in units of the mean of h^2
MOST_TENFOLDS = 20


class TaskRidge(nn.Module, ABC):
    """A map of features to h [n, size], and the regression on h.

    G and C are summed and solved in float64 on the CPU and kept in float32: 2 M (M + 1) + 4 M labels bytes for M =
    `size`, which is 204 MB for 10,000 (100 labels). To learn a task takes some 36 M^2 bytes meanwhile, and 4 M an
    example.

    The temperature of the scores is RanPAC's usual ratio (`SHARPNESS`) times by how much the right label's score is
    above the mean of all; no answer depends on it.

    Args:
        size: M.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forms(self, labels: Tensor) -> Forms:
        """Return the forms of the `sums`; labels: [columns so far], the label number of each logit column."""
        sums = RidgeSums.forms("", self.size, int(labels.max()) + 1)
        return {**sums, **column_forms(labels), RIDGES.name: RIDGES.form}

    @abstractmethod
    def choose(self, old: RidgeSums, new: RidgeSums, h: Tensor, labels: Tensor) -> tuple[float | None, float]:
        """Return the newest task's lambda, in units of the mean of h^2, and the error that it was chosen by.

        None: the task cannot tell.

        Args:
            old: the sums of the tasks before.
            new: those of the newest task, of as many labels.
            h: its examples [n, size], of two labels at least.
            labels: [n], theirs.
        """

    @torch.no_grad()
    def learn(self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor) -> RidgeSolution:
        """Add a task's examples to the sums, let it choose, and solve.

        Args:
            known: the `sums` of the tasks before; empty if there are none.
            features: [n, dim].
            columns: [n].
            labels: [columns so far], the label number of each; a label that came before has its number again.

        Raises:
            TrainingError: the sums that are known are not those of any examples.
        """
        own, count = labels[columns], int(labels.max()) + 1
        h = torch.cat([self(part).cpu() for part in features.split(ROWS)])
        sums, new = RidgeSums.read(known, "", self.size, count), RidgeSums.zeros(self.size, count)
        for part, of_part in zip(h.split(ROWS), own.split(ROWS), strict=True):
            new.add(part.double(), of_part)
        chosen, error = self.choose(sums, new, h, own) if len(own.unique()) > 1 else (None, 0.0)
        ridges = RIDGES.add(known, chosen, len(own))

        moments = sums.add_sums(new).moments(balance=True)
        kept = sums.kept("") | {"counts": add_counts(known, columns, len(labels)), "labels": labels} | ridges
        del sums, new
        weights, ridge = solve_raised(moments, RIDGES.value(ridges) * mean_square(moments.gram, moments.weight))
        return RidgeSolution(
            sums=kept,
            weights=weights[:, labels].float().contiguous(),  # as read from a file: products round alike
            log_shares=log_shares(kept["counts"], labels),
            ridge=ridge,
            error=error,
            temperature=SHARPNESS.default * max(LEAST_SCORE, mean_right_score(weights, moments)),
        )


def solve_raised(moments: Moments, ridge: float) -> tuple[Tensor, float]:
    """Return the solution [M, labels] with lambda, or the least tenfold of it that the sums' rounding allows, and that.

    Raises:
        TrainingError: none of them does.
    """
    for raised in (ridge * 10**exponent for exponent in range(MOST_TENFOLDS)):
        with suppress(TrainingError):
            return solve(moments, raised), raised
    raise TrainingError(NO_EXAMPLES)

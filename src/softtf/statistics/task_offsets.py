"""Offsets of tasks: how much the scores favour each task whatever the input, from an additive model of mean scores.

After task i its training examples are scored against tasks 0 ... i. The mean score of task j is kept as m[i, j]. These
T (T + 1) / 2 values, the lower triangle of a matrix, are all that is left once the data are gone. The model is

    m[i, j] = r_i + b_j + g [i = j]

r_i depends on the data of task i and on the mixture, which had i + 1 tasks. g is how much data favour their own task.
b_j is task j's offset, which it gets from any input. A task is measured on the data that trained it; that makes g too
large, but no offset.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.files.tensor_form import Forms, TensorForm
from softtf.statistics.base import Statistics

DOUBLE = (torch.float64,)
RIDGE = 1.0  # weight of a squared offset; the squared error of one mean has weight 1


class TaskOffsets(Statistics):
    """Keeps `means` [tasks, tasks], zero above the diagonal, and the fitted `offsets` [tasks], in float64.

    The amount is how many examples of each task are scored.
    """

    name = "gradient-id-offset"
    setting = "gradient_offset"
    amount = 200
    needs = "gradient-id"

    def forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the means and of the offsets."""
        return {"means": TensorForm((tasks, tasks), DOUBLE), "offsets": TensorForm((tasks,), DOUBLE)}

    def gather(self, known: Mapping[str, Tensor], scores: Tensor) -> dict[str, Tensor]:
        """Return the statistics with one more task in them.

        Args:
            known: the statistics of the tasks before, empty before the first.
            scores: [n, tasks], the scores of the newest task's examples; the mean of each row is 0.
        """
        tasks = scores.shape[1]
        means = scores.new_zeros(tasks, tasks, dtype=torch.float64, device="cpu")
        if known:
            means[:-1, :-1] = known["means"]
        means[-1] = scores.double().mean(0).cpu()
        return {"means": means, "offsets": fit_offsets(means)}

    def of_tasks(self, known: Mapping[str, Tensor], tasks: Sequence[int]) -> dict[str, Tensor]:
        """Return the means of some tasks and their offsets; a mean of two tasks in the other order is not known.

        Raises:
            UserError: the tasks are not in their order.
        """
        if list(tasks) != sorted(tasks):
            raise UserError(
                f"the statistics of {self.name} know each task's scores beside those before it: keep the order"
            )
        means = known["means"][list(tasks)][:, list(tasks)]
        return {"means": means, "offsets": fit_offsets(means)}


def fit_offsets(means: Tensor) -> Tensor:
    """Return the least-squares offsets b [tasks] for the lower triangle of means [tasks, tasks]; the mean of b is 0.

    RIDGE pulls the offsets towards 0. With two tasks g and b cannot be told apart, and b stays 0.
    """
    tasks = len(means)
    row, column = torch.tril_indices(tasks, tasks)
    one_hot = torch.eye(tasks, dtype=means.dtype)
    design = torch.cat([one_hot[row], (row == column)[:, None].to(means), one_hot[column]], 1)
    penalty = torch.cat([torch.zeros(tasks + 1), torch.ones(tasks)]).to(means).sqrt().diag() * RIDGE**0.5
    targets = torch.cat([means[row, column], means.new_zeros(2 * tasks + 1)])
    found = torch.linalg.lstsq(torch.cat([design, penalty]), targets[:, None], driver="gelsd").solution
    offsets: Tensor = found[tasks + 1 :, 0]
    return offsets - offsets.mean()

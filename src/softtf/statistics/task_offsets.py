"""How much each task is favoured whatever the input: an additive model of the mean scores that tasks' data gave.

After task i its training examples are scored against tasks 0 ... i, and m[i, j], the mean score of task j, is kept: the
lower triangle of a matrix, T (T + 1) / 2 numbers, all that is known once the data are gone. It is modelled as

    m[i, j] = r_i + b_j + g [i = j]

r_i belongs to the data (and to the mixture, which was of i + 1 tasks), g is how much data favour their own task, and
b_j, task j's offset, is what it gets from whatever is asked. That a task was trained on the data that measure it makes
g too large, and no offset.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

RIDGE = 1.0  # of the squared offsets, where one mean's squared error counts 1


class TaskOffsets(nn.Module):
    """Keeps `means` [tasks, tasks], zero above the diagonal, and the `offsets` [tasks] that fit them, in float64.

    Args:
        examples: of each task, on which it is measured.
    """

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.examples = examples

    def shapes(self, columns: int, tasks: int) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of the means and of the offsets."""
        return {"means": (tasks, tasks), "offsets": (tasks,)}

    def gather(self, known: Mapping[str, Tensor], scores: Tensor) -> dict[str, Tensor]:
        """Return the statistics with one more task in them.

        Args:
            known: those of the tasks before, empty before the first.
            scores: [n, tasks] of the newest task's examples, the mean of each row 0.
        """
        tasks = scores.shape[1]
        means = scores.new_zeros(tasks, tasks, dtype=torch.float64, device="cpu")
        if known:
            means[:-1, :-1] = known["means"]
        means[-1] = scores.double().mean(0).cpu()
        return {"means": means, "offsets": fit_offsets(means)}


def fit_offsets(means: Tensor) -> Tensor:
    """Return the b [tasks] of least squares on the lower triangle of means [tasks, tasks]; their own mean is 0.

    Offsets are drawn towards 0 by RIDGE. With two tasks g and b cannot be told apart, so that b stays 0.
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

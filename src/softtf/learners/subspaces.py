"""The features of an input in the networks of all tasks: each task's adapter makes its own feature space."""

import torch
from torch import Tensor

from softtf.backbones.base import Tokens
from softtf.learners.base import Learner
from softtf.learners.rehearsing import features_of
from softtf.learners.task_data import TaskData
from softtf.network import SharedPass


def subspaces(learner: Learner, trunk: Tokens) -> Tensor:
    """Return the features [batch, tasks, dim] of a trunk's tokens in every task's network, with one pass per task."""
    return torch.stack([learner.network.top(trunk, task=task) for task in range(learner.num_tasks)], 1)


def subspaces_of(learner: Learner, data: TaskData) -> Tensor:
    """Return the features [n, tasks, dim] of the newest task's own examples, unaugmented, on the CPU.

    Raises:
        UserError: an input cannot be loaded.
    """
    return features_of(data.loader, lambda x: subspaces(learner, SharedPass(learner.network, x).trunk)).cpu()

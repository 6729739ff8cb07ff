"""Methods that are solved, not trained: one pass over frozen features takes the place of all epochs."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from softtf.learners.base import Batch, Learner, LearnerSpec
from softtf.learners.task_data import TaskData

ONE_PASS: Mapping[str, Any] = {
    "epochs": 1,
    "batch_size": 24,
    "learning_rate": 0.03,
    "augment": False,
    "precision": "float32",
}
"""What a run's settings say of training where there is none.

The precision is read; features are computed only once, so there is little to gain by a lower one. The rest stands for
one plain pass, and cannot be changed.
"""


class ClosedFormSpec(LearnerSpec):
    """Base of the specs of solved methods."""

    training: ClassVar[Mapping[str, Any]] = ONE_PASS
    reads: ClassVar[tuple[str, ...] | None] = ("precision",)


class ClosedFormLearner(Learner):
    """A method without steps or gradients: its whole training is `fit`."""

    answers_by_features = True

    @property
    def takes_steps(self) -> bool:
        """Whether the current task takes gradient steps before it is solved: RanPAC's first."""
        return False

    def features_to_fit(self, data: TaskData) -> Tensor:
        """Return the features [n, size] of the task's own examples that `fit` reads: the frozen backbone's.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: a feature is not finite.
        """
        return data.features.values

    @abstractmethod
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Learn the task from its `features_to_fit` [n, size], of logit columns [n], on the CPU.

        labels: [classes seen], the label number of each column; a label that came before has its number again.

        Returns:
            what to show in place of losses.
        """

    @torch.no_grad()
    def set_heads(self, weights: Tensor, bias: Tensor) -> None:
        """Set every task's head to its columns of weights [size, classes seen] and bias [classes seen]."""
        for task in range(self.num_tasks):
            own, head = self.task_columns(task), self.network.heads.slot(task)
            head["weight"].copy_(weights[:, own].T)
            head["bias"].copy_(bias[own])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Never called, unless the task `takes_steps`."""
        raise AssertionError("a solved learner takes no steps")

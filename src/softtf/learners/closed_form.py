"""Methods that are solved, not trained: one pass over frozen features replaces all epochs."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from softtf.adaptations.slots import Heads
from softtf.backbones.base import Tokens
from softtf.errors import UserError
from softtf.learners.base import Batch, Learner
from softtf.learners.divided import ONE_COLUMN
from softtf.learners.fine_tuning import network_features
from softtf.learners.rehearsing import features_of
from softtf.learners.shares import METHOD
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.statistics import Share

ONE_PASS: Mapping[str, Any] = {
    "epochs": 1,
    "batch_size": 24,
    "learning_rate": 0.03,
    "augment": False,
    "precision": "float32",
}
"""The settings of training for a run that trains nothing.

The precision is read; features are computed only once, so a lower one gains little. The others describe one plain pass
and cannot be changed.
"""


class ClosedFormSpec(LearnerSpec):
    """Base of the specs of methods that are solved."""

    training: ClassVar[Mapping[str, Any]] = ONE_PASS
    reads: ClassVar[tuple[str, ...] | None] = ("precision",)


class ClosedFormLearner(Learner):
    """A method without gradient steps: `fit` is its whole training.

    unit_size: M, where its shares are sums of units h [M] (`RidgeSums`); 0 where they are not.
    """

    answers_by_features = True
    unit_size: int = 0
    trained_by_steps = False

    @property
    def takes_steps(self) -> bool:
        """Whether the current task has parameters beside its head, which gradient steps train before it is solved."""
        beside = [slots for slots in self.slot_modules().values() if slots is not self.network.heads]
        return any(slots.num_parameters(self.task) for slots in beside)

    def features_to_fit(self, data: TaskData) -> Tensor:
        """Return the features [n, size] of the task's own examples for `fit`, unaugmented, on the CPU.

        They are the frozen backbone's; those of the adapted network, if that is what answers.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: a feature is not finite.
        """
        if self.answers_by_features:
            return data.features.values
        return features_of(data.loader, lambda inputs: network_features(self.network, inputs, self.task)).cpu()

    @abstractmethod
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Learn the task from its `features_to_fit` [n, size] and their logit columns [n], on the CPU.

        labels: [classes seen], the label number of each column; a label that came before keeps its number.

        Returns:
            values to show in place of losses, by name.
        """

    def units(self, trunk: Tokens, task: int) -> Tensor:
        """Return h [batch, M] of task `task`'s network, if `unit_size` is not 0."""
        raise NotImplementedError

    def solve(self, shares: Sequence[Share]) -> None:
        """Set heads and memory from the shares of all tasks, as `fit` does; without shares, forget everything.

        A method that keeps no shares does not implement it, and no task can be removed from it.
        """
        raise NotImplementedError

    @property
    def divisible(self) -> bool:
        """Whether heads and memory follow from shares, or there is nothing else."""
        return super().divisible or self._solves

    def trained_by(self, task: int) -> list[str]:
        """Return none: heads are solved anew when tasks are added or removed."""
        return []

    def share_without(self, owner: str, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's share without the sums of some of its classes."""
        return self.without(share, kept) if owner == METHOD else super().share_without(owner, share, kept)

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's share of the method's sums for the classes at `kept` alone.

        Raises:
            UserError: the sums are not kept by class.
        """
        raise UserError(f"the sums of {self.method} are not kept by class; remove the whole task")

    def share_joined(self, owner: str, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's share with that of more of its examples added."""
        return self.joined(one, more) if owner == METHOD else super().share_joined(owner, one, more)

    def joined(self, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's share of the method's sums with that of more of its examples added.

        Args:
            one: of the task.
            more: of the further examples; its labels are places among the task's columns.

        Raises:
            UserError: a share cannot be added to.
        """
        raise UserError(f"{self.method} takes a task's examples at once; learn the whole task again")

    def share_united(self, owner: str, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return one share of the tasks of some shares together."""
        return self.united(shares) if owner == METHOD else super().share_united(owner, shares)

    def united(self, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return one share of the method's sums for the tasks of some shares together.

        A method without it keeps its sums by task.
        """
        raise NotImplementedError

    @property
    def can_unite(self) -> bool:
        """Whether the shares of method and statistics can be one sum."""
        own = type(self).united is not ClosedFormLearner.united
        return (own or not self.share_forms(ONE_COLUMN, 1)) and super().can_unite

    def settle(self, labels: Tensor) -> None:
        """Set everything that follows from the tasks' shares: statistics, heads and memory."""
        super().settle(labels)
        if self._solves:
            self.solve(self.shares_of(labels))

    @property
    def _solves(self) -> bool:
        return type(self).solve is not ClosedFormLearner.solve

    @torch.no_grad()
    def set_heads(self, weights: Tensor, bias: Tensor, heads: Heads | None = None) -> None:
        """Set every task's head to its columns of weights [size, classes seen] and bias [classes seen].

        heads: those to set, if not the network's.
        """
        for task, own in enumerate(self.column_slices):
            head = (heads or self.network.heads).slot(task)
            head["weight"].copy_(weights[:, own].T)
            head["bias"].copy_(bias[own])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Never called unless the task `takes_steps`."""
        raise AssertionError("a solved learner takes no steps")

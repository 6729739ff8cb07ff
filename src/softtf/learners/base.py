"""The base of all learners: a learner learns one task after another, and answers for every task it has learned."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads, TaskSlots
from softtf.backbones.answering import once
from softtf.backbones.base import Backbone, ComputingIn, Tokens
from softtf.backbones.segments import segments_of
from softtf.learners.divided import DividedState
from softtf.learners.spans import AnyClasses
from softtf.learners.task_data import TaskData
from softtf.saying import warn
from softtf.statistics import FeatureStatistics, SharedStatistics


@dataclass(frozen=True)
class Batch:
    """What one training step reads.

    inputs: [b, ...], prepared. targets: [b], logit columns. rows: [b], on the CPU, the places of these examples among
    the training examples. query: [b, dim], their q(x) where it is known (`Learner.query_use`). step: the number of
    earlier steps in this task.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    query: Tensor | None = None
    step: int = 0


class Learner(DividedState):
    """One published method: what it holds (`DividedState`), and the hooks in the life of a task.

    A subclass has `loss` and may override any other hook; an override calls `super()`. The order is: `begin_task` opens
    the task; each step calls `loss` and `after_backward`; `end_task` closes the task; `logits` answers.
    No hook has to undo anything: a task is learned in a copy of all that the learner holds (`go_on`), and the copy is
    dropped if anything raises. What a method holds only for the task in training it releases in `end_task`. A method
    without steps is a `ClosedFormLearner`.

    classes: the classes that the cross-entropy compares (`softtf.learners.spans`); None for a method without one.
    query_use: how the loss uses the query; this decides whether it may get a query that was computed earlier.
    `matching`: it compares the query with keys, so the query of the unaugmented image will do. `features`: it reads the
    query in place of the image, so it gets one only without augmentation. `none`: it is not used.
    loss_is_mean: whether `loss` is a mean over the batch's rows, none of which affects another's term, plus terms that
    do not depend on the batch; and whether it draws no random numbers and keeps nothing of a batch. A subclass that
    overrides `loss` must set it again.
    answers_by_features: whether `logits` reads only the network's features, never the tokens of a trunk. Scoring can
    then read cached features of the test inputs, and need not run a backbone that no adaptation edits.
    """

    query_use: Literal["none", "matching", "features"] = "none"
    loss_is_mean: bool = False
    answers_by_features: bool = False
    told_of_one_class = False  # whether the warning was given; it is given once

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "loss" in vars(cls):  # another loss is a mean only if its own class says so
            cls.loss_is_mean = vars(cls).get("loss_is_mean", False)

    def __init__(
        self,
        backbone: Backbone,
        adaptations: Sequence[Adaptation],
        seed: int,
        extra_slots: Mapping[str, TaskSlots] | None = None,
        heads: Heads | None = None,
        classes: AnyClasses | None = None,
    ) -> None:
        heads = heads or Heads(backbone.dim, retrained=classes == "seen")
        super().__init__(backbone, adaptations, seed, extra_slots, heads)
        self.classes = classes

    @property
    def method(self) -> str:
        """The method's name in messages."""
        return type(self).__name__.removesuffix("Learner")

    @property
    def task_inferences(self) -> tuple[str, ...]:
        """Names of the method's own task inferences; empty if its answer needs no task."""
        return ()

    @property
    def inferences(self) -> tuple[str, ...]:
        """Names of all task inferences that this learner supports: its own, and those that its statistics serve."""
        return (*self.task_inferences, *self.statistics)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the ways to answer, the default first: `none` where the method's answer needs no task.

        Every learner supports `oracle` too; it is listed only if there is no other.
        """
        return self.inferences if self.task_inferences else ("none", *self.inferences)

    @property
    def divides_batches(self) -> bool:
        """Whether the processes of a run can each take some of a batch's rows (`softtf.devices.processes`).

        Otherwise each computes the whole batch: the result is right, but no faster.
        """
        noisy = any(isinstance(part, Adaptation) and part.draws_noise for part in self.modules())
        return self.loss_is_mean and not noisy

    @property
    def step_is_fixed(self) -> bool:
        """Whether `loss` is the same work for every batch of a size, so that a GPU can record and replay it.

        Such a loss reads the batch's inputs, targets and query alone, and none of their values on the host. Every loss
        that is a mean is taken for one (`loss_is_mean`), without noise; a method for which that is wrong says so.
        """
        return self.divides_batches

    def begin_task(self, data: TaskData) -> None:
        """Open the next task; `data` can be extended (`TaskData.rehearse`) until its loader is read.

        Raises:
            UserError: the method cannot learn these classes.
        """
        self.open_slots(len(data.labels))

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the current task's loss, each a scalar; their sum is minimised."""

    def after_backward(self) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Change gradients between backward and the optimizer's step (PGP)."""

    def end_task(self, data: TaskData) -> None:
        """Add the task to the statistics of frozen features, and close it: none of its parameters are trained again.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: a feature is not finite.
        """
        for name, statistics in self.statistics.items():
            if isinstance(statistics, SharedStatistics):
                before = self.shares_of(data.column_labels, name)
                share, found = statistics.learn(before, data.features.values, data.columns, data.column_labels)
                self.keep_share(share.tensors, name)
            elif isinstance(statistics, FeatureStatistics):
                known, values = self.gathered.get(name, {}), data.features.values
                found = statistics.gather(known, values, data.columns, data.column_labels)
            else:
                continue
            self.gathered = self.gathered | {name: found}
        self.close_slots()
        if self.one_sum:
            self.unite_shares(data.column_labels)

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen] of task `task`'s network; columns are in the order of learning."""
        return self.network.heads(self.network.top(trunk, task=task), range(self.num_tasks))  # type: ignore[no-any-return]

    def logits_of_each(self, trunk: Tokens, tasks: Tensor) -> Tensor:
        """Return logits [batch, classes seen] of each sample in its own task's network.

        All samples share one pass, unless the method overrides `logits`.

        tasks: [batch], ascending; on the CPU, so that no GPU need be waited for.
        """
        if type(self).logits is Learner.logits:
            return self.network.heads(self.network.tops(trunk, tasks), range(self.num_tasks))  # type: ignore[no-any-return]
        return torch.cat([self.logits(trunk[rows], task) for rows, task in segments_of(tasks)])

    @property
    def answer_depends_on_task(self) -> bool:
        """Whether `logits` differ between tasks."""
        return self.network.top_depends_on_task

    def task_columns(self, task: int) -> slice:
        """Return the columns of task `task`'s own classes; `column_slices` has those of all tasks in one pass."""
        return self.column_slices[task]

    def column_tasks(self) -> Tensor:
        """Return the task of each logit column, [classes seen]."""

        def counted() -> Tensor:
            sizes = [self.network.heads.num_classes(t) for t in range(self.num_tasks)]
            return torch.repeat_interleave(torch.arange(self.num_tasks), torch.tensor(sizes, dtype=torch.int64))

        return once(self.network.heads, "column tasks", counted)

    @property
    def task(self) -> int:
        """The current task: the newest."""
        return self.num_tasks - 1

    @property
    def num_old(self) -> int:
        """Number of classes of earlier tasks."""
        first: int = self.task_columns(self.task).start
        return first

    @property
    def span(self) -> range:
        """The tasks whose classes the cross-entropy compares for an example of the current task."""
        return range(self.task if self.classes == "own" else 0, self.num_tasks)

    def cross_entropy(self, logits: Tensor, targets: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
        """Return the cross-entropy over `span`; for a replayed example of an earlier task, over all columns.

        logits: [b, columns], of `span`, of all classes seen, or of more; targets: [b], columns of all classes seen.
        """
        first = max(0, self.num_classes - logits.shape[1])
        own = self.num_old
        if self.classes == "own" and self.num_classes == own + 1 and not self.told_of_one_class:
            self.told_of_one_class = True
            warn(
                f"task {self.task + 1} has one class, and the cross-entropy of one class is 0: it trains nothing;"
                " give --learner.classes seen (Python: classes='seen'), or put more classes into each task"
            )
        if self.classes == "own" and first < own:
            earlier = torch.arange(logits.shape[1], device=logits.device) < own - first
            logits = logits.masked_fill(earlier & (targets >= own)[:, None], -torch.inf)
        return F.cross_entropy(logits, targets - first, reduction=reduction)

    def own(self, targets: Tensor) -> Tensor:
        """Translate logit columns [b] into columns of the current task's own head."""
        return targets - self.num_old

    def cross_entropy_of(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy over `span` for features [b, dim]; targets: [b], columns."""
        return self.cross_entropy(self.network.heads(features, self.span), targets)

    @staticmethod
    def computing_in(dtype: torch.dtype) -> AbstractContextManager[None]:
        """Within the block, run the backbone's matrix products in `dtype`, in this thread alone."""
        return ComputingIn(dtype)

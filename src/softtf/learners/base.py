"""What a learner is: it learns one task after another and answers for any task it has learned."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads, Storage, TaskSlots
from softtf.backbones.base import Backbone, ComputingIn, Tokens
from softtf.config.tree import Spec
from softtf.errors import UserError
from softtf.learners.divided import DividedState
from softtf.learners.earlier import in_todays_words, refuse_earlier_words
from softtf.learners.spans import AnyClasses
from softtf.learners.task_data import TaskData
from softtf.screen import warn
from softtf.seeds import derive_seed
from softtf.statistics import STATISTIC_KINDS, FeatureStatistics, SharedStatistics
from softtf.statistics.base import Amount, asked_for


@dataclass(frozen=True)
class Batch:
    """What one step of training reads.

    inputs: [b, ...], prepared; targets: [b], logit columns; rows: [b], on the CPU, which of the training examples these
    are; query: [b, dim], their q(x) where it is known (`Learner.query_use`); step: how many came before in this task.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    query: Tensor | None = None
    step: int = 0


@dataclass(frozen=True)
class LearnerSpec(Spec, family="learner"):
    """Base of all learner specs; a new one in a user's own file registers itself by its `kind`.

    A subclass is a frozen dataclass too and gives `build`. What any learner can have beside its method is set here.
    title: the method's name in tables; the kind if a subclass gives none.
    training: settings of `TrainConfig` that the method needs other values of; recipes and `ContinualClassifier` start
    from them, and users change them as any other. reads: those that it reads, if it does not read all; users cannot
    change the others.

    Attributes:
        storage: how a finished task's own parameters are kept, in memory and on disk. `int8`: the matrices of masks,
            LoRA, adapters and whole weights quantised, each entry within 1/254 of its row's largest, and beside them
            heads and prompts in float16; without such matrices all is exact. `float16`: all these in float16.
            `float32`: all exact. WSN's masks take a bit an entry, exactly.
        feature_id: numbers of the random projection from whose class statistics Feature ID names tasks (1000 is a
            good start); M of them cost a task 4 M (M + 1) bytes of sums, and 12 M a class. 0: no Feature ID.
        mcg: centroids of frozen features per task, by the nearest of which MCG names tasks. 0: no MCG.
        gradient_offset: training examples of each task on which Gradient ID's offsets are fitted (200 is a good start;
            they cost that many of its answers a task). 0: no offsets.
        gather: other task inferences whose statistics are gathered, such as `my-id`, or `my-id=30` for another amount.
    """

    title: ClassVar[str] = ""
    training: ClassVar[Mapping[str, Any]] = {}
    reads: ClassVar[tuple[str, ...] | None] = None

    storage: Storage = field(default="int8", kw_only=True)
    feature_id: Amount = field(default=0, kw_only=True)
    mcg: Amount = field(default=0, kw_only=True)
    gradient_offset: Amount = field(default=0, kw_only=True)
    gather: tuple[str, ...] = field(default=(), kw_only=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.title = vars(cls).get("title", getattr(cls, "kind", cls.__name__))

    def __post_init__(self) -> None:
        refuse_earlier_words(self)
        super().__post_init__()

    @abstractmethod
    def build(self, backbone: Backbone, seed: int) -> "Learner":
        """Return the method's learner with no task yet; `new_learner` is what others call.

        Raises:
            UserError: a setting does not fit the backbone.
        """

    def check_labels(self, labels: Sequence[Hashable], backbone: Backbone) -> None:  # noqa: B027 - most read none
        """Refuse a stream with these labels before its first task, if the method cannot use one of them.

        Raises:
            UserError: it cannot; `Learner.begin_task` would say so of its task.
        """

    def for_stream(self, count: int) -> "LearnerSpec":
        """Return the spec for a stream of `count` classes: what the method must know of them is filled in.

        Raises:
            UserError: the method cannot learn so many.
        """
        return self

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings as an earlier version saved them in today's words."""
        return in_todays_words(settings)

    def new_learner(self, backbone: Backbone, seed: int) -> "Learner":
        """Return a learner with no task yet, and with the statistics that are asked for.

        Raises:
            UserError: a setting makes no sense, or does not fit the backbone.
        """
        amounts = self.statistics()
        learner = self.build(backbone, seed)
        if self.storage != "int8" and not learner.store_as(self.storage) and self.storage != type(self).storage:
            raise UserError(f"storage: no parameter of this method is one task's own; leave {self.storage} out")
        for name in filter(amounts.get, amounts):
            kind = STATISTIC_KINDS[name]
            if kind.needs not in (None, *learner.task_inferences):
                raise UserError(
                    f"{kind.setting or name}: {self.kind!r} does not infer the task by {kind.needs}, which these"
                    " statistics go with; leave it out"
                )
            learner.statistics[name] = kind(learner.network.backbone.dim, amounts[name], derive_seed(seed, name))
        return learner

    def statistics(self) -> dict[str, int]:
        """Return how much is to be gathered of each of the statistics, by name.

        Raises:
            UserError: `gather` names something unknown, or an amount is out of bounds.
        """
        named = {kind.setting: name for name, kind in STATISTIC_KINDS.items()}
        places = {part.name: named[part.name] for part in fields(self) if part.name in named}
        found = {name: getattr(self, place) for place, name in places.items()}
        return found | asked_for(self.gather)


class Learner(DividedState):
    """One published method: what it holds (`DividedState`), and the hooks of the life of a task.

    A subclass gives `loss` and may change any other hook. In order: `begin_task` opens the task; for each step, `loss`,
    `after_backward` and `after_step`; `end_task` closes the task; `logits` answers. What is overridden calls `super()`.
    No hook undoes anything: a task is learned in a copy of all that the learner holds (`go_on`), which is dropped if
    anything raises. What a method holds for the task in training alone it lets go in `end_task`. A method without steps
    is a `ClosedFormLearner`.

    classes: the classes that the cross-entropy is over (`softtf.learners.spans`); None for a method without one.
    query_use: what the loss reads the query for, so that it is given one that was computed before. `matching`: it is
    compared with keys, and may be that of the unaugmented image; `features`: it stands for the image, so that it is
    given only where nothing is augmented; `none`.
    answers_by_features: whether `logits` asks the network for features and never looks at a trunk's tokens, so that
    scoring need not run a backbone that nothing edits: it reads the queries of test inputs that were kept.
    """

    query_use: Literal["none", "matching", "features"] = "none"
    answers_by_features: bool = False
    told_of_one_class = False  # the warning is given once

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
    def task_inferences(self) -> tuple[str, ...]:
        """Names of the method's own task inferences; empty if its answer needs no task."""
        return ()

    @property
    def inferences(self) -> tuple[str, ...]:
        """Names of all task inferences this learner supports: its own, and those that its statistics serve."""
        return (*self.task_inferences, *self.statistics)

    @property
    def policies(self) -> tuple[str, ...]:
        """Ways to answer, the usual one first: `none` where the method's answer needs no task.

        Every learner supports `oracle` too; it is among these only if there is no other.
        """
        return self.inferences if self.task_inferences else ("none", *self.inferences)

    def begin_task(self, data: TaskData) -> None:
        """Open the next task; `data` can be added to (`TaskData.rehearse`) until its loader is read.

        Raises:
            UserError: the method cannot learn these classes.
        """
        self.open_slots(len(data.labels))

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the current task's loss, each a scalar; their sum is minimised."""

    def after_backward(self) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Change gradients between backward and the optimizer's step (PGP)."""

    def after_step(self) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Change parameters after the optimizer's step (MOS)."""

    def end_task(self, data: TaskData) -> None:
        """Add the task to the statistics of frozen features, and close it: nothing of it is trained again.

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

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen] of task `task`'s network, columns in the order of learning."""
        return self.network.heads(self.network.top(trunk, task=task), range(self.num_tasks))  # type: ignore[no-any-return]

    @property
    def answer_depends_on_task(self) -> bool:
        """Whether `logits` differ between tasks."""
        return self.network.top_depends_on_task

    def task_columns(self, task: int) -> slice:
        """Return the columns of task `task`'s own classes."""
        sizes = [self.network.heads.num_classes(t) for t in range(task + 1)]
        return slice(sum(sizes[:-1]), sum(sizes))

    def column_tasks(self) -> Tensor:
        """Return the task of each logit column, [classes seen]."""
        sizes = [self.network.heads.num_classes(t) for t in range(self.num_tasks)]
        return torch.repeat_interleave(torch.arange(self.num_tasks), torch.tensor(sizes, dtype=torch.int64))

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
        """The tasks whose classes the cross-entropy compares an example of the current task with."""
        return range(self.task if self.classes == "own" else 0, self.num_tasks)

    def cross_entropy(self, logits: Tensor, targets: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
        """Return the cross-entropy over `span`; over all columns for an example of an earlier task (a replayed one).

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
        """Turn logit columns [b] into columns of the current task's own head."""
        return targets - self.num_old

    def cross_entropy_of(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy over `span` of the classifiers' logits for features [b, dim]; targets: columns."""
        return self.cross_entropy(self.network.heads(features, self.span), targets)

    @staticmethod
    def computing_in(dtype: torch.dtype) -> AbstractContextManager[None]:
        """Run the backbone's matrix products in `dtype` meanwhile, in this thread alone."""
        return ComputingIn(dtype)

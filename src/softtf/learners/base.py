"""What a learner is: it learns one task after another and answers for any task it has learned."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads, TaskSlots
from softtf.backbones.base import Backbone, Tokens, computing_in
from softtf.config.tree import Spec
from softtf.errors import UserError
from softtf.learners.spans import AnyClasses, check_span, in_todays_words
from softtf.network import AdaptedNetwork
from softtf.seeds import derive_seed
from softtf.statistics import ClassScores, FeatureStatistics, TaskCentroids, TaskOffsets
from softtf.streams import Loader

MEMORY = "memory."
STATISTICS = MEMORY + "statistics."
LARGEST_PROJECTION = 50_000


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
class Replay:
    """Old training examples. inputs: as the preparation's `load_train` gave them; columns: [n], their logit columns."""

    inputs: Sequence[Tensor]
    columns: Tensor


@dataclass(frozen=True)
class LearnerSpec(Spec, family="learner"):
    """Base of all learner specs; a new one in a user's own file registers itself by its `kind`.

    A subclass is a frozen dataclass too and gives `build`. What any learner can have beside its method is set here.
    training: settings of `TrainConfig` that the method needs other values of; recipes and `ContinualClassifier` start
    from them, and users change them as any other.

    Attributes:
        feature_id: numbers of the random projection from whose class statistics Feature ID names tasks (1000 is a
            good start); M of them cost 4 M (M + 1) bytes in what tasks share, and 12 M a class. 0: no Feature ID.
        mcg: centroids of frozen features per task, by the nearest of which MCG names tasks. 0: no MCG.
        gradient_offset: training examples of each task on which Gradient ID's offsets are fitted (200 is a good start;
            they cost that many of its answers a task). 0: no offsets.
    """

    training: ClassVar[Mapping[str, Any]] = {}

    feature_id: int = field(default=0, kw_only=True)
    mcg: int = field(default=0, kw_only=True)
    gradient_offset: int = field(default=0, kw_only=True)

    @abstractmethod
    def build(self, backbone: Backbone, seed: int) -> "Learner":
        """Return the method's learner with no task yet; `new_learner` is what others call.

        Raises:
            UserError: a setting does not fit the backbone.
        """

    def check_classes(self, count: int) -> None:  # noqa: B027 - most methods learn any number
        """Refuse a stream of `count` classes if the method cannot learn so many.

        Raises:
            UserError: it cannot.
        """

    def for_stream(self, count: int) -> "LearnerSpec":
        """Return the spec for a stream of `count` classes: what the method must know of them is filled in."""
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
        check_span(self)
        for name in ("feature_id", "mcg", "gradient_offset"):
            if not 0 <= (value := getattr(self, name)) <= LARGEST_PROJECTION:
                raise UserError(f"{name} must be from 0 (none) to {LARGEST_PROJECTION}, not {value}")
        learner = self.build(backbone, seed)
        if self.feature_id:
            scores = ClassScores(learner.network.backbone.dim, self.feature_id, derive_seed(seed, "feature-id"))
            learner.statistics["feature-id"] = scores
        if self.mcg:
            learner.statistics["mcg"] = TaskCentroids(self.mcg, derive_seed(seed, "mcg"))
        if self.gradient_offset:
            if "gradient-id" not in learner.task_inferences:
                raise UserError(
                    f"gradient_offset: {self.kind!r} has no networks of its tasks' own to mix, so no Gradient ID;"
                    " leave it out"
                )
            learner.statistics["gradient-id-offset"] = TaskOffsets(self.gradient_offset)
        return learner


class Learner(nn.Module):
    """One published method: a network of slots, a loss, and the hooks of the training loop.

    A subclass gives `loss`; it may add slots of its own (`extra_slots`) and change any hook. No hook undoes anything:
    a task is learned in a copy of all that the learner holds (`go_on`), which is dropped if anything raises. The hooks,
    in order: `replay` (old examples to train on beside the new), `name_classes`, `begin_task`, `before_training` (copy
    the network, hold examples out), then for each step `loss` and `after_backward`, then `gather` (statistics of frozen
    features) and `consolidate` (herd exemplars, measure Fisher information), `end_task` and with it `let_go`. A method
    without steps is a `ClosedFormLearner`.

    classes: the classes that the cross-entropy is over (`softtf.learners.spans`); None for a method without one.
    query_use: what the loss reads the query for, so that it is given one that was computed before. `matching`: it is
    compared with keys, and may be that of the unaugmented image; `features`: it stands for the image, so that it is
    given only where nothing is augmented; `none`.
    answers_by_features: whether `logits` asks the network for features and never looks at a trunk's tokens, so that
    scoring need not run a backbone that nothing edits: it reads the queries of test inputs that were kept.
    memory: tensors that the method remembers from task to task besides parameters (exemplars, statistics), by any
    names; they are replaced, never changed in place, and saved with what tasks share.
    statistics: of frozen features or of the learner's own scores, by the name of the task inference that reads them.
    gathered: what each of them has gathered; kept as `memory` is, but no method's own business.
    shared_before: while a task is trained, what tasks shared before it, by the names of `shared_state_dict`.
    """

    query_use: Literal["none", "matching", "features"] = "none"
    answers_by_features: bool = False

    def __init__(
        self,
        backbone: Backbone,
        adaptations: Sequence[Adaptation],
        seed: int,
        extra_slots: Mapping[str, TaskSlots] | None = None,
        heads: Heads | None = None,
        classes: AnyClasses | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.classes = seed, classes
        heads = heads or Heads(backbone.dim, retrained=classes == "seen")
        self.network = AdaptedNetwork(backbone, adaptations, heads)
        self.extra_slots = nn.ModuleDict(dict(extra_slots or {}))
        self.statistics = nn.ModuleDict()
        self.memory: dict[str, Tensor] = {}
        self.gathered: dict[str, dict[str, Tensor]] = {}
        self.shared_before: dict[str, Tensor] = {}
        self.eval()

    @property
    def num_tasks(self) -> int:
        """Number of tasks that have been begun."""
        return self.network.heads.num_tasks

    @property
    def num_classes(self) -> int:
        """Number of classes seen, each a column of the logits."""
        return sum(map(self.network.heads.num_classes, range(self.num_tasks)))

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

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the current task's loss, each a scalar; their sum is minimised."""

    def begin_task(self, num_classes: int) -> None:
        """Open a slot for the next task in every module; the values come from the learner's seed."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "task", self.num_tasks))
        device = next(self.network.backbone.parameters()).device
        for slots in self.slot_modules().values():
            slots.add_task(num_classes, generator)
            slots.to(device)

    def replay(self) -> "Replay | None":
        """Return old examples that the next task is to be trained on beside its own."""
        return None

    def check_labels(self, labels: Sequence[Hashable]) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Refuse a stream with these labels before its first task, if the method cannot use them.

        Raises:
            UserError: it cannot.
        """

    def name_classes(self, labels: Sequence[Hashable]) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Be told the labels of the task that is about to begin, in the order of its columns.

        Raises:
            UserError: a label cannot be read as a name.
        """

    def before_training(self, loader: Loader) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Look at the task's training data before the first step; what is set here is set again on resuming."""

    def after_backward(self) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Change gradients between backward and the optimizer's step (PGP)."""

    @property
    def gathers_features(self) -> bool:
        """Whether there are statistics of frozen features."""
        return any(isinstance(s, FeatureStatistics) for s in self.statistics.values())

    def check_statistics(self) -> None:
        """Refuse, before a task is trained, statistics that it cannot be added to; raises TrainingError."""
        for name, statistics in self.statistics.items():
            if isinstance(statistics, FeatureStatistics):
                statistics.check(self.gathered.get(name, {}))

    def gather(self, features: Tensor, columns: Tensor, labels: Tensor) -> None:
        """Add the task's frozen features [n, dim], of logit columns [n], to every statistic of features.

        labels: [classes seen], the label number of each column.
        """
        for name, statistics in self.statistics.items():
            if not isinstance(statistics, FeatureStatistics):
                continue
            found = statistics.gather(self.gathered.get(name, {}), features, columns, labels)
            self.gathered = self.gathered | {name: found}

    def memory_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes that entries of `memory` have after the tasks so far; None where any size will do.

        What is loaded is checked by them; entries that are not named may have any shape.
        """
        return {}

    def consolidate(self, loader: Loader) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Do what comes after the last step: `loader` holds all that the task was trained on, in training mode."""

    def end_task(self) -> None:
        """Close the current task: nothing of it is trained again."""
        for slots in self.slot_modules().values():
            slots.freeze()
        self.let_go()
        self.shared_before = {}

    def let_go(self) -> None:  # noqa: B027 - a hook, empty unless a method needs it
        """Drop what was held for the task in training only; it has been closed."""

    def face(self) -> Self:
        """Return another object of this very state; it keeps that state when this one goes on in a copy."""
        other: Self = object.__new__(type(self))
        other.become(self)
        return other

    def become(self, other: "Learner") -> None:
        """Take over another learner's state, in one step that nothing can interrupt half-way."""
        object.__setattr__(self, "__dict__", vars(other))

    def go_on(self) -> None:
        """Go on in a copy of the state: from now on nothing done to this object reaches those that `face` gave.

        The copy owns all that training may change in place, and shares what it never does: backbones, the values of
        parameters that are closed, and what is remembered. What else a method holds from task to task must be such that
        `copy.deepcopy` can copy it.
        """
        before = self.face()
        remembered = (self.memory, *self.gathered.values())
        shared: dict[int, Any] = {id(value): value for kept in remembered for value in kept.values()}
        shared |= {id(module): module for module in self.modules() if isinstance(module, Backbone)}
        shared |= {id(p): nn.Parameter(p.detach(), False) for p in self.parameters() if not p.requires_grad}
        after = deepcopy(before, shared)
        after.shared_before = before.shared_state_dict()
        self.become(after)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the state once, also where several objects share it."""
        other: Self = object.__new__(type(self))
        memo[id(self)] = other
        object.__setattr__(other, "__dict__", deepcopy(vars(self), memo))
        return other

    @property
    def answer_depends_on_task(self) -> bool:
        """Whether `logits` differ between tasks."""
        return self.network.top_depends_on_task

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen] of task `task`'s network, columns in the order of learning."""
        return self.network.heads(self.network.top(trunk, task=task), range(self.num_tasks))  # type: ignore[no-any-return]

    def task_columns(self, task: int) -> slice:
        """Return the columns of task `task`'s own classes."""
        sizes = [self.network.heads.num_classes(t) for t in range(task + 1)]
        return slice(sum(sizes[:-1]), sum(sizes))

    def column_tasks(self) -> Tensor:
        """Return the task of each logit column, [classes seen]."""
        sizes = [self.network.heads.num_classes(t) for t in range(self.num_tasks)]
        return torch.repeat_interleave(torch.arange(self.num_tasks), torch.tensor(sizes, dtype=torch.int64))

    @property
    def span(self) -> range:
        """The tasks whose classes the cross-entropy compares an example of the current task with."""
        return range(self.num_tasks - 1 if self.classes == "own" else 0, self.num_tasks)

    def cross_entropy(self, logits: Tensor, targets: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
        """Return the cross-entropy over `span`; over all columns for an example of an earlier task (a replayed one).

        logits: [b, columns], of `span`, of all classes seen, or of more; targets: [b], columns of all classes seen.
        """
        first = max(0, self.num_classes - logits.shape[1])
        own: int = self.task_columns(self.num_tasks - 1).start
        if self.classes == "own" and first < own:
            earlier = torch.arange(logits.shape[1], device=logits.device) < own - first
            logits = logits.masked_fill(earlier & (targets >= own)[:, None], -torch.inf)
        return F.cross_entropy(logits, targets - first, reduction=reduction)

    def own(self, targets: Tensor) -> Tensor:
        """Turn logit columns [b] into columns of the current task's own head."""
        first: int = self.task_columns(self.num_tasks - 1).start
        return targets - first

    def slot_modules(self) -> dict[str, TaskSlots]:
        """Return every module with slots by a name that is stable across runs."""
        names = [type(a).__name__ for a in self.network.adaptations]
        counts, seen = Counter(names), Counter[str]()
        modules: dict[str, TaskSlots] = {"head": self.network.heads}
        for name, adaptation in zip(names, self.network.adaptations, strict=True):
            assert isinstance(adaptation, TaskSlots)
            seen[name] += 1
            modules[f"{name}{seen[name]}" if counts[name] > 1 else name] = adaptation
        for name, extra in self.extra_slots.items():
            assert isinstance(extra, TaskSlots)
            modules[name] = extra
        return modules

    def shared_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield (name, parameter) of what all tasks share."""
        for module_name, module in self.slot_modules().items():
            for name, parameter in module.shared_parameters():
                yield f"{module_name}.{name}", parameter

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained in the current task, by name."""
        task = self.num_tasks - 1
        mine = {
            f"{module_name}.task.{name}": parameter
            for module_name, module in self.slot_modules().items()
            for name, parameter in module.own_parameters(task)
        }
        return {n: p for n, p in ({**dict(self.shared_parameters()), **mine}).items() if p.requires_grad}

    def rate_factor(self, parameter: str) -> float:
        """Return how many times the training's rate a parameter of `trained_parameters` learns at."""
        return 1.0

    def task_state_dict(self, task: int) -> dict[str, Tensor]:
        """Return one task's parameters over all modules."""
        return {
            f"{module_name}.{name}": value
            for module_name, module in self.slot_modules().items()
            for name, value in module.task_state_dict(task).items()
        }

    def load_task(self, state: Mapping[str, Tensor]) -> None:
        """Append a finished task from `task_state_dict`'s values."""
        for module_name, module in self.slot_modules().items():
            start = f"{module_name}."
            module.load_task({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})

    def shared_state_dict(self) -> dict[str, Tensor]:
        """Return the values of what all tasks share, the memory's under `memory.`, statistics among it."""
        shared = {name: parameter.detach() for name, parameter in self.shared_parameters()}
        gathered = {f"{STATISTICS}{n}.{key}": v for n, found in self.gathered.items() for key, v in found.items()}
        return shared | {MEMORY + name: value for name, value in self.memory.items()} | gathered

    def load_shared(self, state: Mapping[str, Tensor]) -> None:
        """Set the values of what all tasks share."""
        with torch.no_grad():
            for name, parameter in self.shared_parameters():
                parameter.copy_(state[name])
        kept = {k.removeprefix(MEMORY): v for k, v in state.items() if k.startswith(MEMORY)}
        self.memory = {k: v for k, v in kept.items() if not (MEMORY + k).startswith(STATISTICS)}
        self.gathered = {
            name: {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            for name in self.statistics
            for start in [f"{STATISTICS}{name}."]
        }

    @contextmanager
    def drawing_noise(self, seed: int) -> Iterator[None]:
        """Let adaptations that train with noise (LoRA's dropout) draw it meanwhile; at other times there is none."""
        device = next(self.network.backbone.parameters()).device
        noisy = [module for module in self.modules() if isinstance(module, Adaptation) and module.beside_in_training]
        for number, adaptation in enumerate(noisy):
            adaptation.noise = torch.Generator(device).manual_seed(derive_seed(seed, number))
        try:
            yield
        finally:
            for adaptation in noisy:
                adaptation.noise = None

    @staticmethod
    def computing_in(dtype: torch.dtype) -> AbstractContextManager[None]:
        """Run the backbone's matrix products in `dtype` meanwhile, in this thread alone."""
        return computing_in(dtype)

"""Learning one task: the only loop in which gradients flow."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from softtf.backbones.features import FixedQueries, Queries
from softtf.devices.device import Precision, matmul_dtype
from softtf.devices.memory import needs_memory
from softtf.errors import OutOfMemoryError, TrainingError, UserError
from softtf.files.tensors import require, require_numbers
from softtf.inference.gradient_offset import gather_offsets
from softtf.learners.base import MEMORY, Batch, Learner
from softtf.seeds import derive_seed
from softtf.streams import Loader

KEPT_BY_OPTIMIZER = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}
LARGEST_BATCH = 1_000_000
LARGEST_RATE = 1e30  # beyond, float32 arithmetic overflows in the first step


@dataclass(frozen=True)
class TrainConfig:
    """How each task is trained, by an optimizer started afresh; the defaults are the paper's DualPrompt on CIFAR-100.

    Attributes:
        epochs: passes over each task's data.
        batch_size: examples a step.
        learning_rate: for a batch of 256; scales with batch_size.
        schedule: the rate stays, or falls to zero along a cosine or a line.
        clip_norm: the gradient's norm is cut to this; None leaves it as it is.
        augment: random resized crops and flips.
        clean_query: match keys with the query of the unaugmented image, which is computed once and not at each step;
            without augmentation that is done anyway, and this changes nothing.
        precision: of matrix products; auto is bfloat16 where the device has it in hardware.
        optimizer: Adam, AdamW, or SGD with momentum 0.9.
        weight_decay: so much of each parameter is added to its gradient (after clipping); AdamW takes that much, times
            the rate, from the parameter itself.
        first_task_learning_rate: the first task's rate, where it is another one.
        first_task_weight_decay: its weight decay, where that is another one.
        warmup: in so many first steps of each task the rate climbs from zero along a line; then the schedule begins.
    """

    epochs: int = 20
    batch_size: int = 24
    learning_rate: float = 0.03
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    clip_norm: float | None = 1.0
    augment: bool = True
    clean_query: bool = False
    precision: Precision = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    first_task_learning_rate: float | None = None
    first_task_weight_decay: float | None = None
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"epochs must be at least 1, not {self.epochs}")
        check_batch_size(self.batch_size)
        for name in ("learning_rate", "clip_norm", "first_task_learning_rate"):
            if (value := getattr(self, name)) is not None and not 0 < value <= LARGEST_RATE:
                raise UserError(f"{name} must be a positive number up to {LARGEST_RATE:g}, not {value}")
        for name in ("weight_decay", "first_task_weight_decay"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= LARGEST_RATE:
                raise UserError(f"{name} must be a number from 0 up to {LARGEST_RATE:g}, not {value}")
        if self.warmup < 0:
            raise UserError(f"warmup must be a number of steps from 0 up, not {self.warmup}")

    def share_of_rate(self, step: int, steps: int) -> float:
        """Return by what the rate is multiplied at a step, counted from 0, of `steps`."""
        if step < self.warmup:
            return step / self.warmup
        past = (step - self.warmup) / max(1, steps - self.warmup)
        return {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * past)), "linear": 1 - past}[self.schedule]

    def of_task(self, task: int) -> "TrainConfig":
        """Return the settings of one task, counted from 0: the first may have a rate and a decay of its own."""
        rate, decay = self.first_task_learning_rate, self.first_task_weight_decay
        if task:
            return self
        return replace(
            self,
            learning_rate=self.learning_rate if rate is None else rate,
            weight_decay=self.weight_decay if decay is None else decay,
        )


def check_batch_size(batch_size: int) -> None:
    """Raise UserError unless a batch size is one that a machine can hold."""
    if not 1 <= batch_size <= LARGEST_BATCH:
        raise UserError(f"batch_size must be at least 1 and at most {LARGEST_BATCH}, not {batch_size}")


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did: mean loss terms, samples seen and seconds, and whether more epochs follow.

    seconds: that passed; kept: those that an earlier run took for fixed queries that this epoch was the first to read.
    """

    task: int
    epoch: int
    epochs: int
    losses: dict[str, float]
    samples: int
    seconds: float
    kept: float = 0.0


@dataclass(frozen=True)
class TaskFeatures:
    """The frozen features of a task's own training examples, unaugmented, and their logit columns [n].

    labels: [columns so far], the label number of each column (`ClassTable.column_labels`).
    """

    queries: FixedQueries
    columns: Tensor
    labels: Tensor

    def get(self) -> Queries:
        """Return the features of all examples.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: one is not finite.
        """
        found = self.queries.get()
        if not found.values.isfinite().all():
            raise TrainingError("a feature of the frozen backbone is not finite; try float32, or look at the inputs")
        return found


class TaskTraining:
    """Trains the learner's newest task epoch by epoch; its state between epochs can be saved and put back.

    Args:
        learner: whose `begin_task` was called.
        loader: in training mode, its targets logit columns.
        config: how to train.
        seed: orders and augmentations are drawn from it and the epoch's number.
        queries: of the loader's examples without augmentation, if the loss is to read these.
        features: of the task's own examples, if the learner is solved from them or gathers statistics of them.
    """

    def __init__(
        self,
        learner: Learner,
        loader: Loader,
        config: TrainConfig,
        seed: int,
        queries: FixedQueries | None = None,
        features: TaskFeatures | None = None,
    ) -> None:
        self.learner, self.loader, self.seed = learner, loader, seed
        self.queries, self.features = queries, features
        self.features_counted = features is not None and features.queries is queries  # in the first epoch
        self.task = learner.num_tasks - 1
        self.config = config = config.of_task(self.task)
        self.epoch, self.epochs = 0, config.epochs
        self.parameters = learner.trained_parameters()
        self.rate = config.learning_rate * config.batch_size / 256
        self.optimizer = _optimizer(config, self._groups(), self.rate)
        self.dtype = matmul_dtype(config.precision, loader.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    @needs_memory("learn the task", lambda self, *_: self.config.batch_size, OutOfMemoryError)
    def run_epoch(self, on_step: Callable[[int, int], None] = lambda step, steps: None) -> EpochReport:
        """Train one epoch; `on_step(step, steps)` is called after each batch.

        Raises:
            TrainingError: a loss was not finite, or there is not enough memory (an OutOfMemoryError).
        """
        start = time.perf_counter()
        steps = len(self.loader)
        watch = LossWatch(self.task, self.epoch, every=1 if self.loader.device.type == "cpu" else 50)
        samples = 0
        noise = derive_seed(self.seed, "noise", self.task, self.epoch)
        with self.learner.computing_in(self.dtype), self.learner.drawing_noise(noise):
            known = self.queries.get() if self.queries else None
            for step, batch in enumerate(self._batches(known)):
                self._set_rate(batch.step, self.epochs * steps)
                losses = self.learner.loss(batch)
                self.optimizer.zero_grad(set_to_none=True)
                torch.stack(list(losses.values())).sum().backward()
                watch.add(losses)
                self.learner.after_backward()
                if self.config.clip_norm is not None:
                    clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
                self.optimizer.step()
                samples += len(batch.targets)
                on_step(step + 1, steps)
        means = watch.means()
        self.epoch += 1
        if not all(torch.isfinite(p).all() for p in self.parameters.values()):
            raise TrainingError(
                f"a parameter is no longer finite after task {self.task + 1}, epoch {self.epoch}, step {steps};"
                " earlier tasks are as they were; try a lower learning rate or float32"
            )
        seconds = time.perf_counter() - start
        kept = known.seconds + known.loading if known is not None and known.from_disk and self.epoch == 1 else 0.0
        return EpochReport(self.task, self.epoch, self.epochs, means, samples, seconds, kept)

    def _batches(self, known: Queries | None) -> Iterator[Batch]:
        first = self.epoch * len(self.loader)
        order = self.loader.epoch(derive_seed(self.seed, self.task, self.epoch))
        for step, (inputs, targets, rows) in enumerate(order, first):
            query = None if known is None else known.values[rows].to(inputs.device)
            yield Batch(inputs, targets, rows, query, step)

    @needs_memory("finish the task", lambda self: self.config.batch_size, OutOfMemoryError)
    def finish(self) -> tuple[float, float]:
        """Do what the method does after the last step, and close the task.

        Returns:
            the seconds that passed, and those that an earlier run took for features that nothing before has read.

        Raises:
            TrainingError: a feature is not finite, or there is not enough memory (an OutOfMemoryError).
        """
        start, kept = time.perf_counter(), 0.0
        self.optimizer.zero_grad(set_to_none=True)
        with self.learner.computing_in(self.dtype):
            if self.features and self.learner.gathers_features:
                found = self.features.get()
                self.learner.gather(found.values, self.features.columns, self.features.labels)
                kept = found.seconds + found.loading if found.from_disk and not self.features_counted else 0.0
            self.learner.consolidate(self.loader)
            self.learner.end_task()
            gather_offsets(self.learner, self.loader)
        return time.perf_counter() - start, kept

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters as the optimizer's groups: one for each of the learner's rate factors."""
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.parameters.items():
            groups.setdefault(self.learner.rate_factor(name), []).append(parameter)
        return [{"params": params, "lr": self.rate * factor, "factor": factor} for factor, params in groups.items()]

    def _set_rate(self, step: int, steps: int) -> None:
        rate = self.rate * self.config.share_of_rate(step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def state(self) -> dict[str, Tensor]:
        """Return everything that later epochs depend on, as named tensors.

        What the learner remembers of earlier tasks is only named, unless this one has replaced it: it may be large.
        """
        tensors = {"epoch": torch.tensor(self.epoch)}
        for name, value in self.learner.memory.items():
            same = value is self.learner.shared_before.get(MEMORY + name)  # then the task before has saved it
            tensors |= {f"unchanged/{name}": torch.empty(0)} if same else {f"memory/{name}": value}
        for name, parameter in self.parameters.items():
            tensors[f"parameter/{name}"] = parameter.detach()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = value
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a state that `state` returned, the learner being as it was when this task began.

        Raises:
            UserError: the state is of another learner or training; then nothing was changed.
        """
        memory = self._checked(tensors)
        self.epoch = int(tensors["epoch"])
        self.learner.memory = memory
        for name, parameter in self.parameters.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"parameter/{name}"])
            kept = {key: f"optimizer/{key}/{name}" for key in KEPT_BY_OPTIMIZER[self.config.optimizer]}
            self.optimizer.state[parameter] = {
                key: _like(tensors[full], parameter) for key, full in kept.items() if full in tensors
            }

    def _checked(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state's memory; refuse a state of other names, shapes, types or epochs than this training's."""
        where, before = "the checkpoint", self.learner.shared_before
        like = {"epoch": torch.tensor(0)}
        for name, parameter in self.parameters.items():
            like[f"parameter/{name}"] = parameter
            moments = {f"optimizer/{key}/{name}": key for key in KEPT_BY_OPTIMIZER[self.config.optimizer]}
            if any(full in tensors for full in moments):  # a parameter without a gradient yet has none
                like |= {full: torch.tensor(0.0) if key == "step" else parameter for full, key in moments.items()}
        of_memory = {k: v for k, v in tensors.items() if k.startswith(("unchanged/", "memory/"))}
        require({k: v for k, v in tensors.items() if k not in of_memory}, like, where, exact=True)
        if not 0 <= int(tensors["epoch"]) <= self.epochs:
            raise UserError(f"{where} is of epoch {int(tensors['epoch'])}, of {self.epochs}")
        unchanged = [k.removeprefix("unchanged/") for k in of_memory if k.startswith("unchanged/")]
        if lost := [name for name in unchanged if MEMORY + name not in before]:
            raise UserError(f"{where} goes on from memories that this learner does not have ({lost[0]!r})")
        new = {k.removeprefix("memory/"): v for k, v in of_memory.items() if k.startswith("memory/")}
        require_numbers(new, where)
        for name in new.keys() & {k.removeprefix(MEMORY) for k in before}:
            old = before[MEMORY + name]
            if (new[name].dtype, new[name].dim()) != (old.dtype, old.dim()):
                raise UserError(f"{where}: {name!r} has type {new[name].dtype} and {new[name].dim()} dimensions")
        return {name: before[MEMORY + name] for name in unchanged} | new


def _optimizer(config: TrainConfig, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    """Return Adam, AdamW, or SGD with momentum 0.9 (METHOD section 5: CLIP)."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=0.9, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, rate, weight_decay=config.weight_decay)


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Put optimizer state where the optimizer keeps it: moments beside the parameter, the step count on the CPU."""
    return value.clone() if value.dim() == 0 else value.to(parameter.device, copy=True)


class LossWatch:
    """Means of the loss terms; notices a loss that is not finite without stopping a GPU at each step."""

    def __init__(self, task: int, epoch: int, every: int) -> None:
        self.place, self.every = (task, epoch), every
        self.pending: list[Tensor] = []
        self.names: list[str] = []
        self.sums: list[float] = []
        self.steps = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Note one step's terms."""
        self.names = list(losses)
        self.pending.append(torch.stack([v.detach().float() for v in losses.values()]))
        if len(self.pending) >= self.every:
            self._check()

    def means(self) -> dict[str, float]:
        """Return each term's mean over the steps."""
        self._check()
        return {name: total / self.steps for name, total in zip(self.names, self.sums, strict=True)}

    def _check(self) -> None:
        if not self.pending:
            return
        for values in torch.stack(self.pending).tolist():
            self.steps += 1
            for name, value in zip(self.names, values, strict=True):
                if not math.isfinite(value):
                    task, epoch = self.place
                    raise TrainingError(
                        f"the {name} loss became {value} in task {task + 1}, epoch {epoch + 1}, step {self.steps};"
                        " earlier tasks are as they were; try a lower learning rate or float32"
                    )
            self.sums = [a + b for a, b in zip(self.sums or [0.0] * len(values), values, strict=True)]
        self.pending.clear()

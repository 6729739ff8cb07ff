"""Learn one task by gradient steps; no other module computes gradients of a loss."""

import math
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from softtf.adaptations.base import drawing_noise
from softtf.backbones.compiling import Compiling
from softtf.backbones.feature_store import Queries
from softtf.backbones.features import OnStep, no_progress
from softtf.devices.device import moved
from softtf.devices.memory import needs_memory
from softtf.devices.processes import is_first, own_rows, share
from softtf.devices.queue import made_beside
from softtf.errors import OutOfMemoryError, TrainingError, UserError
from softtf.files.tensor_form import INTEGERS, TensorForm, check_forms, form_like
from softtf.learners.base import Batch, Learner
from softtf.learners.state import MEMORY
from softtf.learners.task_data import TaskData
from softtf.seeds import derive_seed
from softtf.training.combined import combine
from softtf.training.config import TrainConfig
from softtf.training.optimizer import KEPT, kept_forms, optimizer_of, restore
from softtf.training.recorded import RecordedSteps, records_on
from softtf.training.task import EpochReport, TaskTraining


class GradientTraining(TaskTraining):
    """Trains the task by gradient steps, epoch by epoch, with a new optimizer.

    queries: the frozen features of the training examples, if the loss reads them. Of several processes of a run, each
    takes some rows of each batch. Where the loss cannot be divided (`Learner.divides_batches`), each takes the whole
    batch, and the first's gradients are those of all.

    recorded: the steps of whole batches, where they are recorded once and replayed.
    """

    def __init__(self, learner: Learner, data: TaskData, config: TrainConfig) -> None:
        config = config.of_task(learner.task)
        super().__init__(learner, data, config, config.epochs)
        augmented = config.augment and data.backbone.preparation.augment
        fixed = learner.query_use != "none" and (config.clean_query or not augmented)
        self.queries = data.queries if fixed else None
        self.counts_features = self.queries is data.own_queries
        self.divides = learner.divides_batches
        self.parameters = learner.trained_parameters()
        records = config.record and learner.step_is_fixed and records_on(self.loader.device)
        self.recorded = RecordedSteps(learner, list(self.parameters.values())) if records else None
        self.rate = config.learning_rate * config.batch_size / 256
        self.optimizer = optimizer_of(config, self._groups(), self.rate)

    @needs_memory("learn the task", lambda self, *_: self.config.batch_size, OutOfMemoryError)
    def run_epoch(self, on_step: OnStep = no_progress) -> EpochReport:
        """Train one epoch; `on_step(step, steps)` is called after each batch.

        Raises:
            TrainingError: a loss was not finite, or there is not enough memory (an OutOfMemoryError).
            UserError: torch cannot compile here, as the settings ask.
        """
        start = time.perf_counter()
        steps = len(self.loader)
        watch = LossWatch(self.task, self.epoch, every=1 if self.loader.device.type == "cpu" else 50)
        samples = 0
        noise = derive_seed(self.learner.seed, "noise", self.task, self.epoch)
        with self.learner.computing_in(self.dtype), drawing_noise(self.learner, noise):
            known = self.queries.get() if self.queries else None
            with Compiling(self.config.compile):  # but not those queries, which are kept for all
                batches = made_beside(self._batches(known), _tensors, self.loader.device)
                for step, batch in enumerate(batches):
                    self._set_rate(batch.step, self.epochs * steps)
                    size = self._size(step)
                    watch.add(self._backward(batch, size))
                    self.learner.after_backward()
                    if self.config.clip_norm is not None:
                        clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
                    self.optimizer.step()
                    samples += size
                    on_step(step + 1, steps)
        means = watch.means()
        self.epoch += 1
        if not torch.stack([torch.isfinite(p).all() for p in self.parameters.values()]).all():
            raise TrainingError(
                f"a parameter is no longer finite after task {self.task + 1}, epoch {self.epoch}, step {steps};"
                " earlier tasks are as they were; try a lower learning rate or float32"
            )
        seconds = time.perf_counter() - start
        kept = self.queries.kept_seconds if self.queries and self.epoch == 1 else 0.0
        return EpochReport(self.task, self.epoch, self.epochs, means, samples, seconds, kept)

    def _backward(self, batch: Batch, size: int) -> Mapping[str, Tensor]:
        """Set the gradients of a batch of `size` examples, of which `batch` is this process's part; return its losses.

        The shares by which processes weigh their losses add up to 1. So do gradients and losses: to those of the whole
        batch, where each loss is a mean over its rows.
        """
        part = share(size) if self.divides else float(is_first())
        own = partial(self._backward_of_part, part=part)
        whole = size == self.loader.batch_size and len(batch.inputs)  # else it is the last batch: one step of an epoch
        losses = self.recorded(own, batch) if self.recorded is not None and whole else own(batch)
        return combine(list(self.parameters.values()), losses, part)

    def _backward_of_part(self, batch: Batch, part: float) -> Mapping[str, Tensor]:
        losses = self.learner.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        (part * torch.stack(list(losses.values())).sum()).backward()
        return losses

    def _size(self, step: int) -> int:
        """Return the number of examples in a batch of an epoch, in all processes together."""
        return min(self.loader.batch_size, len(self.loader.examples) - step * self.loader.batch_size)

    def _batches(self, known: Queries | None) -> Iterator[Batch]:
        first = self.epoch * len(self.loader)
        part = own_rows if self.divides else slice
        order = self.loader.epoch(derive_seed(self.learner.seed, self.task, self.epoch), part)
        for step, (inputs, targets, rows) in enumerate(order, first):
            query = None if known is None else moved(known.values[rows], inputs.device)
            yield Batch(inputs, targets, rows, query, step)

    def finish(self) -> tuple[float, float]:
        """Drop the gradients and the recorded step, then finish."""
        self.recorded = None
        self.optimizer.zero_grad(set_to_none=True)
        return super().finish()

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters as the optimizer's groups: one for each rate factor of the modules that hold them."""
        modules, groups = self.learner.slot_modules(), dict[float, list[Tensor]]()
        for name, parameter in self.parameters.items():
            groups.setdefault(modules[name.partition(".")[0]].rate_factor, []).append(parameter)
        return [{"params": params, "lr": self.rate * factor, "factor": factor} for factor, params in groups.items()]

    def _set_rate(self, step: int, steps: int) -> None:
        rate = self.rate * self.config.share_of_rate(step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def state(self) -> dict[str, Tensor]:
        """Return everything that later epochs depend on, as tensors by name.

        Memory of earlier tasks may be large. It is named only, unless this task has replaced it.
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
        """Restore a state that `state` returned; the learner must be as it was when this task began.

        Raises:
            UserError: the state is of another learner or training; then nothing was changed.
        """
        memory = self._checked(tensors)
        self.epoch = int(tensors["epoch"])
        self.learner.memory = memory
        for name, parameter in self.parameters.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"parameter/{name}"])
            kept = {key: f"optimizer/{key}/{name}" for key in KEPT[self.config.optimizer]}
            found = {key: tensors[full] for key, full in kept.items() if full in tensors}
            restore(self.optimizer, parameter, found)

    def _checked(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state's memory; refuse a state of other names, shapes, types or epochs than this training's."""
        where, before = "the checkpoint", self.learner.shared_before
        forms = {"epoch": TensorForm((), INTEGERS, 0, self.epochs)}
        for name, parameter in self.parameters.items():
            forms[f"parameter/{name}"] = form_like(parameter, exact=True)
            kept = kept_forms(self.config.optimizer, parameter, self.epochs * len(self.loader))
            moments = {f"optimizer/{key}/{name}": form for key, form in kept.items()}
            if moments.keys() & tensors.keys():  # a parameter without a gradient yet has none
                forms |= moments
        of_memory = {k: v for k, v in tensors.items() if k.startswith(("unchanged/", "memory/"))}
        check_forms({k: v for k, v in tensors.items() if k not in of_memory}, forms, where)
        unchanged = [k.removeprefix("unchanged/") for k in of_memory if k.startswith("unchanged/")]
        if lost := [name for name in unchanged if MEMORY + name not in before]:
            raise UserError(f"{where} goes on from memories that this learner does not have ({lost[0]!r})")
        new = {k.removeprefix("memory/"): v for k, v in of_memory.items() if k.startswith("memory/")}
        memory = {name: before[MEMORY + name] for name in unchanged} | new
        if new:
            check_forms(memory, self.learner.memory_forms(self.data.column_labels), where, "memory/")
        elif missing := sorted(self.learner.memory.keys() - memory.keys()):
            raise UserError(f"{where}: {missing[0]!r} is missing")
        return memory


def _tensors(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch that are on the device."""
    return [batch.inputs, batch.targets, *([] if batch.query is None else [batch.query])]


class LossWatch:
    """Means of the loss terms. It finds a loss that is not finite without a synchronisation at each step."""

    def __init__(self, task: int, epoch: int, every: int) -> None:
        self.place, self.every = (task, epoch), every
        self.pending: list[Tensor] = []
        self.names: list[str] = []
        self.sums: list[float] = []
        self.steps = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the terms of one step."""
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

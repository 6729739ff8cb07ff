"""The interface of training one task: passes with reports, a state to save, and an end."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from softtf.backbones.features import OnStep, no_progress
from softtf.devices.device import matmul_dtype
from softtf.devices.memory import needs_memory
from softtf.errors import OutOfMemoryError
from softtf.inference.base import gather_answers
from softtf.learners.base import Learner
from softtf.learners.task_data import TaskData
from softtf.training.config import TrainConfig


@dataclass(frozen=True)
class EpochReport:
    """The result of one epoch: mean loss terms, samples, seconds, and whether more epochs follow.

    seconds: those that passed. kept: those that an earlier run took for frozen features; the epoch that reads them
    first reports them.
    """

    task: int
    epoch: int
    epochs: int
    losses: dict[str, float]
    samples: int
    seconds: float
    kept: float = 0.0


class TaskTraining(ABC):
    """Trains a learner's newest task in one or more passes; its state between passes can be saved and restored.

    epoch: the passes that are done. epochs: all passes.

    Args:
        learner: its `begin_task` was called.
        data: of the task.
        config: how to train.
        epochs: how many passes.
    """

    counts_features = False  # whether a pass reports the seconds of the own examples' frozen features

    def __init__(self, learner: Learner, data: TaskData, config: TrainConfig, epochs: int) -> None:
        self.learner, self.data, self.config = learner, data, config
        self.loader, self.task = data.loader, learner.task
        self.epoch, self.epochs = 0, epochs
        self.dtype = matmul_dtype(config.precision, data.device)

    @property
    def finished(self) -> bool:
        """Whether all passes are done."""
        return self.epoch >= self.epochs

    @abstractmethod
    def run_epoch(self, on_step: OnStep = no_progress) -> EpochReport:
        """Run one pass.

        Raises:
            TrainingError: a value was not finite, or there is not enough memory (an OutOfMemoryError).
        """

    @needs_memory("finish the task", lambda self: self.config.batch_size, OutOfMemoryError)
    def finish(self) -> tuple[float, float]:
        """Run the method's last step, `end_task`, and close the task.

        Returns:
            the seconds that passed, and those that an earlier run took for features that are read here first.

        Raises:
            TrainingError: a feature is not finite, or there is not enough memory (an OutOfMemoryError).
            UserError: the processes of the run have learned different things.
        """
        start = time.perf_counter()
        with self.learner.computing_in(self.dtype):
            self.learner.end_task(self.data)
            gather_answers(self.learner, self.loader)
        self.learner.check_alike()
        kept = 0.0 if self.counts_features else self.data.own_queries.kept_seconds
        return time.perf_counter() - start, kept

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return everything that later passes depend on, as tensors by name."""

    @abstractmethod
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a state that `state` returned; the learner must be as it was when this task began.

        Raises:
            UserError: the state is of another learner or training; then nothing was changed.
        """

"""Learning one task in closed form: one pass over frozen features, without steps."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from softtf.backbones.features import OnStep, no_progress
from softtf.devices.memory import needs_memory
from softtf.errors import OutOfMemoryError
from softtf.files.tensor_form import require
from softtf.learners.closed_form import ClosedFormLearner
from softtf.learners.task_data import TaskData
from softtf.training.config import TrainConfig
from softtf.training.task import EpochReport, TaskTraining


class ClosedFormTraining(TaskTraining):
    """Solves the task in one pass. A pass that is interrupted starts again, so there is no state to keep."""

    counts_features = True

    def __init__(self, learner: ClosedFormLearner, data: TaskData, config: TrainConfig) -> None:
        super().__init__(learner, data, config, epochs=1)
        self.solved = learner

    @needs_memory("learn the task", lambda self, *_: self.config.batch_size, OutOfMemoryError)
    def run_epoch(self, on_step: OnStep = no_progress) -> EpochReport:
        """Solve the task; `on_step` is called once, when that is done.

        Raises:
            TrainingError: a feature is not finite, or there is not enough memory (an OutOfMemoryError).
        """
        assert not self.finished
        start = time.perf_counter()
        with self.learner.computing_in(self.dtype):
            features = self.solved.features_to_fit(self.data)
        shown = self.solved.fit(features, self.data.columns, self.data.column_labels)
        self.epoch = 1
        on_step(len(self.loader), len(self.loader))
        seconds, kept = time.perf_counter() - start, self.data.own_queries.kept_seconds
        return EpochReport(self.task, self.epoch, self.epochs, shown, len(features), seconds, kept)

    def state(self) -> dict[str, Tensor]:
        """Return an empty state: nothing is done yet."""
        return {"epoch": torch.tensor(0)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that the state is one of a closed form; there is nothing to restore.

        Raises:
            UserError: it is of another one.
        """
        require(tensors, self.state(), "the checkpoint", exact=True)

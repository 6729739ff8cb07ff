"""Training of learners that are solved from frozen features, behind the face of `TaskTraining`."""

import time
from collections.abc import Callable

from softtf.devices.memory import needs_memory
from softtf.errors import OutOfMemoryError
from softtf.learners.closed_form import ClosedFormLearner
from softtf.streams import Loader
from softtf.training.gradient import EpochReport, TaskFeatures, TaskTraining, TrainConfig


class ClosedFormTraining(TaskTraining):
    """The one pass of a learner that is solved from frozen features: to all around it, a training of one epoch."""

    def __init__(
        self, learner: ClosedFormLearner, loader: Loader, config: TrainConfig, seed: int, features: TaskFeatures
    ) -> None:
        super().__init__(learner, loader, config, seed, None, features)
        self.solved, self.frozen = learner, features
        self.epochs, self.features_counted = 1, True

    @needs_memory("learn the task", lambda self, *_: self.config.batch_size, OutOfMemoryError)
    def run_epoch(self, on_step: Callable[[int, int], None] = lambda step, steps: None) -> EpochReport:
        """Solve the task; `on_step` is called once, when that is done.

        Raises:
            TrainingError: a feature is not finite, or there is not enough memory (an OutOfMemoryError).
        """
        assert not self.finished
        start = time.perf_counter()
        with self.learner.computing_in(self.dtype):
            found = self.frozen.get()
        shown = self.solved.fit(found.values, self.frozen.columns, self.frozen.labels)
        self.epoch = 1
        on_step(len(self.loader), len(self.loader))
        seconds, kept = time.perf_counter() - start, found.seconds + found.loading if found.from_disk else 0.0
        return EpochReport(self.task, self.epoch, self.epochs, shown, len(found.values), seconds, kept)

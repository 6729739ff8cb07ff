"""The loop over a task's epochs, which runs and `ContinualClassifier.learn` share, and what can be called in it."""

from collections.abc import Sequence
from contextlib import ExitStack

from softtf.training.task import EpochReport, TaskTraining


class TaskCallback:
    """Is called while a task is learned; a subclass overrides what it needs.

    If a callback raises, the task is not learned, and the classifier is as it was before.
    """

    def begun(self, training: TaskTraining) -> None:
        """Be told that the task is open. `training.load_state` goes on from a checkpoint."""

    def step(self, step: int, steps: int) -> None:
        """Be told that `step` of an epoch's `steps` are done."""

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        """Be told that an epoch is done. `training.state()` is a checkpoint."""

    def ended(self, seconds: float, kept: float) -> None:
        """Be told that the task is learned, and what `TaskTraining.finish` returned."""

    def closed(self) -> None:
        """Be told that nothing more comes, whether or not the task was learned."""


def learn_task(training: TaskTraining, callbacks: Sequence[TaskCallback] = ()) -> list[EpochReport]:
    """Train a task that is open to its end.

    Args:
        training: as `begin_training` returns it.
        callbacks: are called in this order.

    Returns:
        one report per epoch that was done here.

    Raises:
        TrainingError: a number was not finite, or there is not enough memory (an OutOfMemoryError).
    """

    def step(done: int, steps: int) -> None:
        for callback in callbacks:
            callback.step(done, steps)

    reports = []
    with ExitStack() as stack:
        for callback in callbacks:
            stack.callback(callback.closed)
            callback.begun(training)
        while not training.finished:
            reports.append(training.run_epoch(step))
            for callback in callbacks:
                callback.epoch(training, reports[-1])
        seconds, kept = training.finish()
        for callback in callbacks:
            callback.ended(seconds, kept)
    return reports

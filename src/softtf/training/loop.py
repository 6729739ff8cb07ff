"""The loop over a task's epochs, for runs and `ContinualClassifier.learn`, and its callbacks."""

from collections.abc import Sequence
from contextlib import ExitStack

from softtf.training.task import EpochReport, TaskTraining


class TaskCallback:
    """Callbacks of `learn_task`; a subclass overrides those that it needs.

    If a callback raises, the task is not learned, and the classifier is as it was before.
    """

    def begun(self, training: TaskTraining) -> None:
        """Called when the task is open. `training.load_state` continues from a checkpoint."""

    def step(self, step: int, steps: int) -> None:
        """Called when `step` of an epoch's `steps` are done."""

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        """Called when an epoch is done. `training.state()` is a checkpoint."""

    def ended(self, seconds: float, kept: float) -> None:
        """Called when the task is learned, with what `TaskTraining.finish` returned."""

    def closed(self) -> None:
        """Called at the end, whether or not the task was learned."""


def learn_task(training: TaskTraining, callbacks: Sequence[TaskCallback] = ()) -> list[EpochReport]:
    """Train an open task to its end.

    Args:
        training: as `begin_training` returns it.
        callbacks: called in this order.

    Returns:
        a report for each epoch that this call trained.

    Raises:
        TrainingError: a value was not finite, or there is not enough memory (an OutOfMemoryError).
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

"""The checkpoint of a task that is being learned: replaced after each epoch, and gone on from when a run is resumed."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from torch import Tensor

from softtf.devices.processes import check_alike, is_first
from softtf.errors import UserError
from softtf.files.tensors import checksum
from softtf.runs.run import Run, noting
from softtf.training.loop import TaskCallback
from softtf.training.task import EpochReport, TaskTraining


class KeptEpochs(TaskCallback):
    """Saves a checkpoint after each epoch of a task, and continues from the last one.

    A GPU trains the next epoch while a thread writes the checkpoint of this one. It is on disk before the next one is
    made, before the task is learned, and before an error or Ctrl-C leaves the task.
    """

    def __init__(self, run: Run, task: int) -> None:
        self.run, self.task = run, task
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def begun(self, training: TaskTraining) -> None:
        """Continue from the checkpoint; one that is damaged or of another run is noted and ignored."""
        folder = self.run.folder
        try:
            if (state := folder.load_checkpoint(self.task)) is not None:
                training.load_state(state)
        except UserError as error:
            noting(self.run.console)(f"{error}; task {self.task + 1} starts again from its first epoch")
        check_alike("checkpoints", lambda: checksum(training.state()))
        if is_first():
            folder.forget_events_after(self.task, training.epoch)

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        """Log the epoch, and replace the checkpoint."""
        self._written()
        fields = {"losses": report.losses, "samples": report.samples, "seconds": report.seconds, "kept": report.kept}
        self.run.log("epoch", task=self.task, epoch=report.epoch, **fields)
        if is_first():
            state = training.state()
            if writes_beside(training):
                copy = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
                self._writing = self._writer.submit(self._write, copy)
            else:
                self._write(state)
                self.run.kept()

    def ended(self, seconds: float, kept: float) -> None:
        """Log the end of the task."""
        self._written()
        self.run.log("consolidation", task=self.task, seconds=seconds, kept=kept)

    def closed(self) -> None:
        """Let a checkpoint that is being written arrive."""
        if self._writing is not None:
            wait([self._writing])
        self._writer.shutdown()

    def _write(self, state: Mapping[str, Tensor]) -> None:
        self.run.folder.save_checkpoint(self.task, state)

    def _written(self) -> None:
        """Wait until the last checkpoint is on disk; raises UserError if it could not be written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None
            self.run.kept()


def writes_beside(training: TaskTraining) -> bool:
    """Return whether checkpoints are written while training goes on: a GPU needs no core of the machine for it."""
    return training.loader.device.type == "cuda"

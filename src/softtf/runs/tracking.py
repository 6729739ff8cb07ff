"""Optional TensorBoard events beside events.jsonl."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.training.loop import TaskCallback
from softtf.training.task import EpochReport, TaskTraining


class Tracker(TaskCallback):
    """Writes losses and accuracies to `folder/tensorboard` if `enabled`; otherwise it does nothing.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, enabled: bool) -> None:
        self.writer: Any = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UserError("tensorboard is not installed; pip install 'softtf[tracking]'") from None
            self.writer = SummaryWriter(str(folder / "tensorboard"))

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        """Write an epoch's losses under its task."""
        if self.writer:
            for name, value in report.losses.items():
                self.writer.add_scalar(f"task-{report.task + 1:03d}/{name}", value, report.epoch)
            self.writer.flush()

    def scores(self, task: int, accuracies: Mapping[str, float]) -> None:
        """Write ACC after a task, per policy."""
        if self.writer:
            for code, acc in accuracies.items():
                self.writer.add_scalar(f"acc/{code}", acc, task + 1)
            self.writer.flush()

"""TensorBoard: event files in the run's folder, `tensorboard --logdir RUN/tensorboard`."""

from collections.abc import Mapping

import numpy as np
from PIL.Image import Image

from softtf.tracking.base import TrackedRun, Tracker, library, tracker


@tracker("tensorboard", "event files in RUN/tensorboard")
class TensorBoard(Tracker):
    """Writes event files. A run that goes on adds a file, and TensorBoard shows both as one run."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        library("tensorboard")
        self.writer = library("torch.utils.tensorboard").SummaryWriter(str(run.folder / "tensorboard"))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write a scalar for each number."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def picture(self, name: str, image: Image, step: int) -> None:
        """Write an image."""
        self.writer.add_image(name, np.asarray(image), step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()

"""Weights & Biases: its server, or files on this machine with WANDB_MODE=offline."""

import os
from collections.abc import Mapping

from PIL.Image import Image

from softtf.tracking.base import TrackedRun, Tracker, library, tracker


@tracker("wandb", "Weights & Biases; WANDB_MODE=offline keeps it on this machine")
class WandB(Tracker):
    """Writes into the project `softtf`, or what WANDB_PROJECT names.

    wandb has one step, which must rise, for all that is logged. So each value comes with a step of its own kind:
    `epoch/step`.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.wandb = library("wandb")
        project = os.environ.get("WANDB_PROJECT", "softtf")
        named = {"name": run.name, "id": run.id, "config": dict(run.settings), "dir": str(run.folder)}
        self.log = self.wandb.init(project=project, resume="allow", settings={"quiet": True}, **named)
        self.kinds: set[str] = set()

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log the numbers over the step of their kind."""
        self.log.log({**values, self._step_of(next(iter(values))): step})

    def picture(self, name: str, image: Image, step: int) -> None:
        """Log an image over the step of its kind."""
        self.log.log({name: self.wandb.Image(image), self._step_of(name): step})

    def close(self) -> None:
        """Send what is left."""
        self.log.finish()

    def _step_of(self, name: str) -> str:
        kind = name.partition("/")[0]
        if kind not in self.kinds:
            self.kinds.add(kind)
            self.log.define_metric(f"{kind}/*", step_metric=f"{kind}/step")
        return f"{kind}/step"

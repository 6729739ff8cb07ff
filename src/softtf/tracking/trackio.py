"""trackio: a database on this machine, `trackio show --project softtf`."""

from collections.abc import Mapping

from PIL.Image import Image

from softtf.tracking.base import TrackedRun, Tracker, library, tracker


@tracker("trackio", "a database on this machine; `trackio show` opens it")
class Trackio(Tracker):
    """Writes into trackio's project `softtf`. Its runs are known by their names, so the id is a part of the name."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.trackio = library("trackio")
        name = f"{run.name} {run.id[:6]}"
        self.log = self.trackio.init(project="softtf", name=name, config=dict(run.settings), resume="allow")

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log the numbers."""
        self.log.log(dict(values), step=step)

    def picture(self, name: str, image: Image, step: int) -> None:
        """Log an image."""
        self.log.log({name: self.trackio.Image(image)}, step=step)

    def close(self) -> None:
        """Send what is left."""
        self.log.finish()

"""Sends what a run logs, and its accuracy matrices, to trackers. A tracker that fails is dropped, and the run goes on.

`tracking.json` in the run's folder has an id, by which a run that goes on is the same run to a tracker.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from softtf.config.dotted import flat
from softtf.config.tree import to_dict
from softtf.errors import UserError, unknown
from softtf.files.plain_json import fits, read_object
from softtf.runs.config import RunConfig
from softtf.runs.folder import RunFolder
from softtf.tracking import TRACKERS, TrackedRun, Tracker
from softtf.tracking.matrix import picture_of

FILE = "tracking.json"
ID = re.compile("[0-9a-f]{16}")


def check_trackers(config: RunConfig) -> None:
    """Refuse a tracker that nobody defined.

    Raises:
        UserError: its name is unknown.
    """
    for name in config.track:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS, imports=True)


class Tracking:
    """The open trackers of a run.

    Args:
        folder: the run's.
        note: told of a tracker that fails.
        trackers: by name.
    """

    def __init__(self, folder: RunFolder, note: Callable[[str], object], trackers: Mapping[str, Tracker]) -> None:
        self.folder, self.note, self.trackers = folder, note, dict(trackers)
        self.epochs: int | None = None

    def event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Send the numbers of a line of events.jsonl, which is written already."""
        if self.trackers:
            values, step = dict(_numbers(fields, event)), self._step(event, fields["task"])
            self._tell("metrics", values, step)

    def matrices(self, tasks: int) -> None:
        """Send a picture of the accuracy matrix under each policy, after so many tasks."""
        for code, matrix in self.folder.scores.matrices(tasks).items() if self.trackers else ():
            self._tell("picture", f"matrix/{code}", picture_of(matrix.a, f"accuracy, {code}"), tasks)

    def close(self) -> None:
        """Close the trackers."""
        self._tell("close")

    def _step(self, event: str, task: int) -> int:
        """Return the epochs of the whole run so far; of other lines, the tasks."""
        if event != "epoch":
            return task + 1
        if self.epochs is None:  # a run that goes on has epochs from before
            self.epochs = sum(line["event"] == "epoch" for line in self.folder.logged())
        else:
            self.epochs += 1
        return self.epochs

    def _tell(self, method: str, *args: Any) -> None:
        """Call a method of each tracker, and drop one that raises."""
        for name, tracker in list(self.trackers.items()):
            try:
                getattr(tracker, method)(*args)
            except Exception as error:
                del self.trackers[name]
                self.note(f"--track {name} failed and gets nothing more: {type(error).__name__}: {error}")


def open_trackers(config: RunConfig, folder: RunFolder) -> dict[str, Tracker]:
    """Open the trackers that the settings of a run name.

    Raises:
        UserError: one is unknown, is not installed, or does not start.
    """
    check_trackers(config)
    if not config.track:
        return {}
    name, found = f"{config.recipe}-{config.method}-seed{config.seed}", {}
    run = TrackedRun(folder.path, name, _id(folder), flat(to_dict(config)))
    for tracker in config.track:
        try:
            found[tracker] = TRACKERS[tracker](run)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"--track {tracker} does not start: {type(error).__name__}: {error}") from error
    return found


def _numbers(fields: Mapping[str, Any], name: str) -> Iterator[tuple[str, float]]:
    """Yield every number of a line of the log by its place in it."""
    for field, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}/{field}")
        elif isinstance(value, int | float):
            yield f"{name}/{field}", float(value)


def _id(folder: RunFolder) -> str:
    """Return the run's id for trackers; a new one if the folder has none."""
    file = folder.path / FILE
    found = read_object(file) if file.exists() else {}
    if fits(found, {"id": str}) and ID.fullmatch(found["id"]):
        return str(found["id"])
    new = secrets.token_hex(8)
    folder.write_json(FILE, {"id": new})
    return new

"""The protocol of trackers, and their names."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL.Image import Image

from softtf.errors import UserError
from softtf.registry import Registry


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker knows of a run from the start.

    Attributes:
        folder: the run's.
        name: what people call it, such as `cifar100-10-soft-tf-seed0`.
        id: the same if the run goes on after it was stopped, and no other run's.
        settings: all of them, flat: `train.epochs`.
    """

    folder: Path
    name: str
    id: str
    settings: Mapping[str, Any]


class Tracker(ABC):
    """Where a run's numbers go. A new one is open; a run that goes on opens it again with the same `TrackedRun.id`.

    Args:
        run: whose numbers they are.

    Raises:
        UserError: its library is not installed.
    """

    title = ""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Take the numbers of one line of events.jsonl.

        Args:
            values: by names such as `epoch/losses/cross_entropy`.
            step: the epochs of the whole run so far, or the tasks. All values have the same first word, and the steps
                of one first word rise.
        """

    def picture(self, name: str, image: Image, step: int) -> None:  # noqa: B027
        """Take the picture of an accuracy matrix after `step` tasks; a tracker without pictures has nothing to do."""

    def close(self) -> None:  # noqa: B027
        """End; the run is finished or stopped."""


TRACKERS: Registry[type[Tracker]] = Registry("tracker")


def tracker(name: str, title: str) -> Callable[[type[Tracker]], type[Tracker]]:
    """Register the class below as a tracker: its name for `--track`, and a line for lists.

    Raises:
        UserError: there is a tracker of this name.
    """

    def register(kind: type[Tracker]) -> type[Tracker]:
        kind.title = title
        TRACKERS.add(name, kind, kind)
        return kind

    return register


def library(name: str) -> Any:
    """Import a tracker's library.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{name} cannot be imported ({error}); pip install 'softtf[tracking]'") from None

"""What was learned so far, and the next task: it is learned whole, or nothing has changed.

A task is trained in a copy of the learner's state (`Learner.go_on`). When it is finished, the copy and its class table
take the place of what was known, by one assignment; until then whoever predicts, scores or saves, in whatever thread,
reads the finished tasks. So nothing has to be undone when a task fails, and nobody waits.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable

R = TypeVar("R")


class Finished(NamedTuple):
    """A learner of finished tasks, which is never trained on, and the classes of these tasks."""

    learner: Learner
    classes: ClassTable


class Knowledge:
    """The finished tasks, and the one that is being learned.

    learner: the object that hooks run on; while a task is learned its state is that of the training, otherwise it is
    that of the finished tasks. finished: what is known; who reads more than one thing of it must take it once.

    Args:
        learner: with no task in training.
        classes: of its tasks.
    """

    def __init__(self, learner: Learner, classes: ClassTable) -> None:
        self.learner = learner
        self.finished = Finished(learner.face(), classes)
        self.calls: list[Change] = []  # of `put`, in their order: the first one is at work

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the finished tasks; the one that is being learned stays with the original."""
        learner, classes = self.finished
        return type(self)(deepcopy(learner, memo), deepcopy(classes, memo))

    def next_task(self, learn: Callable[[ClassTable], R]) -> R:
        """Return what `learn` returns, which learns one task in `learner` and in the class table that it is given.

        Whatever it raises, learner and classes are then as they were. A second Ctrl-C changes nothing in that: what
        remains to be done is an assignment, with no Python code in which it could strike.

        Raises:
            UserError: another task is being learned.
        """

        def learned() -> tuple[Finished, R]:
            classes = deepcopy(self.finished.classes)
            result = learn(classes)
            return Finished(self.learner.face(), classes), result

        return self.put(learned)

    def put(self, make: Callable[[], tuple[Finished, R]]) -> R:
        """Put what `make` returns first in the place of what is known, and return the rest (under `own_settings`).

        Whatever raises, as late as when the settings are restored, what is known stays as it is.

        Raises:
            UserError: a task is being learned, or what is known is being changed.
        """
        change = Change(self)
        try:
            return with_own_settings(self._put)(make, change)
        except BaseException:
            change.take_back()
            raise

    def _put(self, make: Callable[[], tuple[Finished, R]], change: "Change") -> R:
        try:
            self.calls.append(change)
            if self.calls[0] is not change:
                raise UserError("another task is being learned by this classifier; call learn again when it has ended")
            try:
                after, result = make()
                change.before, change.after = self.finished, after
                self.finished = after
                return result
            finally:
                object.__setattr__(self.learner, "__dict__", self.finished.learner.__dict__)
        finally:
            if change in self.calls:
                self.calls.remove(change)


@dataclass(eq=False)
class Change:
    """What one call of `put` changed: nothing until it is finished."""

    knowledge: Knowledge
    before: Finished | None = None
    after: Finished | None = None

    def take_back(self) -> None:
        """Go back to what was known before, and let others learn: a Ctrl-C may strike as the call ends."""
        known = self.knowledge
        if self.before is not None and known.finished is self.after:
            known.finished = self.before
            object.__setattr__(known.learner, "__dict__", self.before.learner.__dict__)
        if self in known.calls:
            known.calls.remove(self)

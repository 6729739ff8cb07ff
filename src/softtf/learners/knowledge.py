"""What was learned so far, and the next task, which is learned completely or not at all.

A task is trained in a copy of the learner's state (`Learner.go_on`). When it is finished, one assignment puts the copy
and its class table in the place of the old state. Until then every thread that predicts, scores or saves reads the
finished tasks. So a task that fails leaves nothing to undo, and no thread waits.
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
    """A learner of finished tasks, which is never trained, and the classes of these tasks."""

    learner: Learner
    classes: ClassTable


class Knowledge:
    """The finished tasks, and the task that is being learned.

    learner: the object that hooks run on. While a task is learned it has the state in training, otherwise that of the
    finished tasks. finished: the finished tasks; code that reads several things of it must read the attribute once.

    Args:
        learner: a learner with no task in training.
        classes: the classes of its tasks.
    """

    def __init__(self, learner: Learner, classes: ClassTable) -> None:
        self.learner = learner
        self.finished = Finished(learner.face(), classes)
        self.calls: list[Change] = []  # of `put`, in order; the first one is running

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the finished tasks; a task that is being learned stays with the original."""
        learner, classes = self.finished
        return type(self)(deepcopy(learner, memo), deepcopy(classes, memo))

    def next_task(self, learn: Callable[[ClassTable], R]) -> R:
        """Call `learn`, which learns one task in `learner` and in the class table that it gets; return its result.

        If it raises, learner and classes are as they were before. A second Ctrl-C does not change that: all that is
        left to do is an assignment, and no Python code runs in which Ctrl-C could strike.

        Raises:
            UserError: another task is being learned.
        """

        def learned() -> tuple[Finished, R]:
            classes = deepcopy(self.finished.classes)
            result = learn(classes)
            return Finished(self.learner.face(), classes), result

        return self.put(learned)

    def put(self, make: Callable[[], tuple[Finished, R]]) -> R:
        """Replace what is known by the first thing that `make` returns; return the rest (under `own_settings`).

        If anything raises, even when the settings are restored, what is known stays as it is.

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
    """What one call of `put` has changed: nothing until it is finished."""

    knowledge: Knowledge
    before: Finished | None = None
    after: Finished | None = None

    def take_back(self) -> None:
        """Restore what was known before, and let others learn: Ctrl-C may strike as the call ends."""
        known = self.knowledge
        if self.before is not None and known.finished is self.after:
            known.finished = self.before
            object.__setattr__(known.learner, "__dict__", self.before.learner.__dict__)
        if self in known.calls:
            known.calls.remove(self)

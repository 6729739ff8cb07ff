"""What was learned so far, and the next task: it is learned whole, or nothing has changed.

A task is trained in a copy of the learner's state (`Learner.go_on`). When it is finished, the copy and its class table
take the place of what was known, by one assignment; until then whoever predicts, scores or saves, in whatever thread,
reads the finished tasks. So nothing has to be undone when a task fails, and nobody waits.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple, Self, TypeVar

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
        self._calls: list[object] = []  # of `next_task`, in their order: the first one learns

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
        me = object()
        try:
            self._calls.append(me)
            if self._calls[0] is not me:
                raise UserError("another task is being learned by this classifier; call learn again when it has ended")
            try:
                classes = deepcopy(self.finished.classes)
                result = learn(classes)
                self.finished = Finished(self.learner.face(), classes)
                return result
            finally:
                object.__setattr__(self.learner, "__dict__", self.finished.learner.__dict__)
        finally:
            if me in self._calls:
                self._calls.remove(me)

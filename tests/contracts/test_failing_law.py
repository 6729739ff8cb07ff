"""Law 8: whatever raises inside `learn`, in any hook, Ctrl-C included, the classifier is as it was before."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from contracts.cases import LEARNERS, LearnerCase
from contracts.state import data, fresh, state_of
from contracts.tiny import assert_same, snapshot
from softtf.learners import Learner

METHODS = {name: case for name, case in LEARNERS.items() if " + " not in name or "MCG" in name}  # others' hooks again
ERRORS = (KeyboardInterrupt, MemoryError, RuntimeError, OSError)


class Watched:
    """A learner whose methods are counted, and one of which raises, before its first call or after its last.

    The methods are all that the learner's classes define, found by looking, so that a new one is among them.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        classes = [cls for cls in type(learner).__mro__ if issubclass(cls, Learner)]
        functions = {n for cls in classes for n, value in vars(cls).items() if inspect.isfunction(value)}
        self.names = sorted(n for n in functions if not n.startswith("__") and n not in ("face", "become"))
        self.calls = dict.fromkeys(self.names, 0)

    def learn(self, learn: Callable[[], Any], failing: str = "", at: int = 0, error: type = RuntimeError) -> None:
        """Call `learn`; the method `failing` raises `error` instead of its first call (0), or after call `at`."""
        self.calls = dict.fromkeys(self.names, 0)
        for name in self.names:
            setattr(self.learner, name, self._wrapped(name, getattr(self.learner, name), failing, at, error))
        try:
            learn()
        finally:
            for name in self.names:
                delattr(self.learner, name)

    def _wrapped(self, name: str, true: Callable[..., Any], failing: str, at: int, error: type) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            if name == failing and not at:
                raise error("raised in " + name)
            result = true(*args, **kwargs)
            self.calls[name] += 1
            if name == failing and self.calls[name] == at:
                raise error("raised after " + name)
            return result

        return method


@pytest.mark.filterwarnings("ignore:.* is solved in one pass")
@pytest.mark.parametrize("case", METHODS.values(), ids=METHODS)
def test_a_hook_that_raises_changes_nothing(case: LearnerCase) -> None:
    """Each method called while a task is learned, in the first task and in a later one, before it and after it."""
    smooth, model = fresh(case), fresh(case)
    for task in (0, 1):
        watched, whole = Watched(model.learner), Watched(smooth.learner)
        before = state_of(model, case)
        whole.learn(lambda: smooth.learn(data(case, task), progress=False))
        calls = {name: count for name, count in whole.calls.items() if count}
        assert {"begin_task", "before_training", "consolidate", "end_task", "let_go", "replay"} <= calls.keys()
        for number, (name, count) in enumerate(calls.items()):
            for at in (0, count):
                error = ERRORS[(number + at) % len(ERRORS)]
                with pytest.raises(error, match=f"raised (in|after) {name}"):
                    watched.learn(lambda: model.learn(data(case, task), progress=False), name, at, error)
                assert state_of(model, case) == before, (name, at)
        model.learn(data(case, task), progress=False)
        assert_same(snapshot(model.learner), snapshot(smooth.learner))

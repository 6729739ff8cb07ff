"""Law 8: whatever raises inside `learn`, in any hook, Ctrl-C included, the classifier is as it was before."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

from contracts.cases import LEARNERS, LearnerCase
from softtf.errors import OutOfMemoryError
from softtf.learners import Learner
from support.slow import each
from support.state import data, fresh, state_of
from support.tiny import assert_same, snapshot

QUICK = ("block ridge", "Soft-TF, Feature ID", "DER++", "MBPA++")
ERRORS = (KeyboardInterrupt, MemoryError, RuntimeError, OSError)


def one_of_each() -> dict[str, LearnerCase]:
    """A case of each method, with and without statistics and projection."""
    kinds = {}
    for name, case in LEARNERS.items():
        kinds.setdefault((type(case.spec), "ID" in name, "PGP" in name, "offsets" in name), (name, case))
    return dict(kinds.values())


class Watched:
    """A learner whose hooks are counted, and one of which raises, before its first call or after its last.

    The hooks are found by looking: all functions of the learner's classes that the training loop calls, or the base
    class does, so that a new one is among them.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        classes = [cls for cls in type(learner).__mro__ if issubclass(cls, Learner)]
        functions = {n for cls in classes for n, value in vars(cls).items() if inspect.isfunction(value)}
        self.names = sorted(n for n in functions if not n.startswith("_") and n not in ("face", "become"))
        self.calls = dict.fromkeys(self.names, 0)

    def learn(self, learn: Callable[[], Any], failing: str = "", at: int = 0, error: type = RuntimeError) -> None:
        """Call `learn`; the hook `failing` raises `error` instead of its first call (0), or after call `at`."""
        self.calls = dict.fromkeys(self.names, 0)
        for name in self.names:
            setattr(self.learner, name, self._wrapped(name, getattr(self.learner, name), failing, at, error))
        try:
            learn()
        finally:
            for name in self.names:
                delattr(self.learner, name)

    def _wrapped(self, name: str, true: Callable[..., Any], failing: str, at: int, error: type) -> Callable[..., Any]:
        def hook(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals["__name__"]
            if caller.startswith("softtf.learners.") and caller != "softtf.learners.base":
                return true(*args, **kwargs)
            if name == failing and not at:
                raise error("raised in " + name)
            result = true(*args, **kwargs)
            self.calls[name] += 1
            if name == failing and self.calls[name] == at:
                raise error("raised after " + name)
            return result

        return hook


@each("case", one_of_each(), QUICK)
def test_a_hook_that_raises_changes_nothing(case: LearnerCase) -> None:
    """Each hook, before and after what it does, in the first task (there before alone) and in a later one."""
    smooth, model = fresh(case), fresh(case)
    for task in (0, 1):
        examples = data(case, task)
        watched, whole = Watched(model.learner), Watched(smooth.learner)
        before = state_of(model, case)
        whole.learn(lambda examples=examples: smooth.learn(examples, progress=False))
        calls = {name: count for name, count in whole.calls.items() if count}
        assert {"begin_task", "end_task"} <= calls.keys()
        for number, (name, count) in enumerate(calls.items()):
            for at in (0, count) if task else (0,):
                error = ERRORS[(number + at) % len(ERRORS)]
                with pytest.raises((error, OutOfMemoryError), match=f"raised (in|after) {name}|not enough memory"):
                    watched.learn(lambda examples=examples: model.learn(examples, progress=False), name, at, error)
                assert state_of(model, case) == before, (name, at)
        model.learn(examples, progress=False)
        assert_same(snapshot(model.learner), snapshot(smooth.learner))

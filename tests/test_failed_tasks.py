"""A task that fails, or is interrupted, leaves no trace."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from contracts.cases import LEARNERS
from softtf.classifier import ContinualClassifier
from softtf.errors import TrainingError, UserError
from softtf.training.config import TrainConfig
from softtf.training.progress import TaskProgress
from support.state import data, fresh, state_of
from support.tiny import (
    SMALL_PROJECTION,
    SOFT_TF,
    assert_same,
    classifier,
    empty,
    pictures,
    snapshot,
    task_data,
    task_labels,
)

pytestmark = pytest.mark.usefixtures("fresh_locks")


def assert_as_if_never_failed(model: ContinualClassifier, before: dict, proba: torch.Tensor) -> None:
    """Earlier tasks are bit for bit as they were, and the task that failed is learned as if for the first time."""
    assert model.num_tasks == model.learner.num_tasks == 1 and set(model.labels) == set(task_labels(0))
    assert_same(snapshot(model.learner), before)
    assert torch.equal(model.predict_proba(pictures(5)), proba)
    assert model.frozen_backbone_unchanged
    for task in (1, 2):
        model.learn(task_data(task), progress=False)
    assert_same(snapshot(model.learner), snapshot(classifier(SOFT_TF).learner))


def test_a_loss_that_is_not_finite_names_task_and_step_and_undoes_the_task() -> None:
    model = classifier(SOFT_TF, 1)
    before, proba = snapshot(model.learner), model.predict_proba(pictures(5))
    wild = TrainConfig(epochs=3, batch_size=4, learning_rate=1e30, precision="float32")
    with pytest.raises(TrainingError, match=r"loss became \S+ in task 2, epoch \d+, step \d+") as caught:
        model.learn(task_data(1), config=wild, progress=False)
    assert "\n" not in str(caught.value)
    assert_as_if_never_failed(model, before, proba)


def test_a_last_step_that_destroys_the_parameters_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step: the loss before it is finite, what the step leaves behind is not."""
    model = classifier(SOFT_TF, 1)
    before, proba = snapshot(model.learner), model.predict_proba(pictures(5))

    def spoil() -> None:
        gradient = next(iter(model.learner.trained_parameters().values())).grad
        assert gradient is not None
        gradient.fill_(float("nan"))

    monkeypatch.setattr(model.learner, "after_backward", spoil)
    one_step = TrainConfig(epochs=1, batch_size=100, precision="float32")
    with pytest.raises(TrainingError, match="task 2"):
        model.learn(task_data(1), config=one_step, progress=False)
    monkeypatch.undo()
    assert_as_if_never_failed(model, before, proba)


def test_an_interrupt_undoes_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(SOFT_TF, 1)
    before, proba = snapshot(model.learner), model.predict_proba(pictures(5))
    loss, calls = model.learner.loss, []

    def interrupted(*args: Any) -> Any:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(model.learner, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.learn(task_data(1), progress=False)
    monkeypatch.undo()
    assert_as_if_never_failed(model, before, proba)


def test_a_first_task_can_fail_as_well() -> None:
    model = empty()
    wild = TrainConfig(epochs=3, batch_size=4, learning_rate=1e30, precision="float32")
    with pytest.raises(TrainingError, match="task 1"):
        model.learn(task_data(0), config=wild, progress=False)
    assert model.num_tasks == 0 and not model.labels
    model.learn(task_data(0), progress=False)
    spec = replace(SOFT_TF, feature_id=SMALL_PROJECTION)
    assert_same(snapshot(model.learner), snapshot(classifier(spec, 1, inference=None).learner))


@pytest.mark.parametrize("name", ["IDBR", "SLM", "Soft-TF, Feature ID", "RanPAC", "iCaRL"])
def test_inputs_that_turn_out_to_be_unreadable_leave_no_class_behind(name: str, tmp_path: Path) -> None:
    """Twice in a second task: by then two tasks were begun whose classes answered, where a method reads early."""
    case = LEARNERS[name]
    model, smooth = fresh(case), fresh(case)
    model.learn(data(case, 0), progress=False)
    before = state_of(model, case)
    bad: list[Any] = ["lone \ud800 surrogate"] * 8 if case.texts else [tmp_path / "gone.png"] * 8
    for attempt in range(2):
        with pytest.raises(UserError, match="does not exist|surrogate"):
            model.learn((bad, [f"new {attempt} {i % 2}" for i in range(8)]), progress=False)
        assert state_of(model, case) == before
    model.learn(data(case, 1), progress=False)
    for task in (0, 1):
        smooth.learn(data(case, task), progress=False)
    assert_same(snapshot(model.learner), snapshot(smooth.learner))


@pytest.mark.parametrize("name", ["__init__", "begun", "step", "epoch", "ended", "closed"])
def test_a_display_that_fails_undoes_the_task(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = LEARNERS["DER++"]
    model = fresh(case)
    model.learn(data(case, 0), progress=False)
    before = state_of(model, case)

    def broken(*args: Any, **options: Any) -> None:
        raise BrokenPipeError("the terminal is gone")

    with monkeypatch.context() as patch:
        patch.setattr(TaskProgress, name, broken)
        with pytest.raises(BrokenPipeError):
            model.learn(data(case, 1))
    assert state_of(model, case) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # those that struck as it was cleaned up
@pytest.mark.parametrize("hook", ["after_backward", "end_task"])
def test_a_second_interrupt_while_the_first_one_passes_changes_nothing(hook: str) -> None:
    """At every function that is entered on the way out: it is there that Python looks for signals."""
    case = LEARNERS["Soft-TF, Feature ID"]
    model, smooth = fresh(case), fresh(case)
    model.learn(data(case, 0), progress=False)
    before, true = state_of(model, case), getattr(model.learner, hook)
    entered = interrupted(model, case, hook, true, at=-1)
    assert entered >= 4
    for at in range(entered):
        interrupted(model, case, hook, true, at)
        assert state_of(model, case) == before, at
    for task in (0, 1):
        smooth.learn(data(case, task), progress=False)
    model.learn(data(case, 1), progress=False)
    assert_same(snapshot(model.learner), snapshot(smooth.learner))


NCM = LEARNERS["NCM"]
ACTS: dict[str, Callable[[ContinualClassifier], object]] = {
    "learn": lambda model: model.learn(data(NCM, 1), progress=False),
    "remove a task": lambda model: model.remove_task(0),
    "rename": lambda model: model.rename(tasks={0: "another"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTS)
def test_an_interrupt_after_the_change_was_made_takes_it_back(name: str) -> None:
    """At every line from there to the end of the call."""

    def with_one_task() -> ContinualClassifier:
        model = fresh(NCM)
        model.learn(data(NCM, 0), progress=False)
        return model

    before, dtype = state_of(with_one_task(), NCM), torch.get_default_dtype()
    lines = struck_after_the_end(with_one_task(), ACTS[name], at=-1)
    assert lines >= 10
    model = with_one_task()
    for at in range(lines):
        with pytest.raises(KeyboardInterrupt):
            struck_after_the_end(model, ACTS[name], at)
        assert state_of(model, NCM) == before, at
        assert model.classes.names == with_one_task().classes.names
        assert torch.get_default_dtype() is dtype, at


def struck_after_the_end(model: ContinualClassifier, act: Callable[[ContinualClassifier], object], at: int) -> int:
    """Act, and be interrupted at line `at` between the change and the end of the call; return how many there are."""
    lines, known = 0, model.knowledge.finished

    def tracing(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        names = ("knowledge.py", "torch_state.py", "classifier.py", "changing.py", "contextlib.py")
        if not frame.f_code.co_filename.endswith(names) or frame.f_code.co_name == "take_back":
            return None
        if event == "line" and model.knowledge.finished is not known:
            lines += 1
            if lines == at + 1:
                raise KeyboardInterrupt
        return tracing

    before = sys.gettrace()
    sys.settrace(tracing)
    try:
        act(model)
    finally:
        sys.settrace(before)
    return lines


def interrupted(model: ContinualClassifier, case: Any, hook: str, true: Callable[..., Any], at: int) -> int:
    """Learn, be interrupted after `hook`, and again on entering function `at` from then on; return how many there are.

    The traceback, which holds what was left open, goes when this returns.
    """
    entered = 0

    def entering(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal entered
        entered += 1
        if entered == at + 1:
            raise KeyboardInterrupt

    def call(*args: Any) -> None:
        true(*args)
        sys.settrace(entering)
        raise KeyboardInterrupt

    setattr(model.learner, hook, call)
    tracing = sys.gettrace()
    try:
        model.learn(data(case, 1), progress=False)
    except KeyboardInterrupt:
        sys.settrace(tracing)
    else:
        raise AssertionError("nothing was interrupted")
    delattr(model.learner, hook)
    return entered

"""The loop over epochs: what its callbacks are told, and that they can stop a task and go on with it."""

from collections.abc import Mapping

import pytest
from torch import Tensor

from contracts.cases import LEARNERS
from softtf.training.loop import TaskCallback
from softtf.training.task import EpochReport, TaskTraining
from support.state import data, fresh, state_of
from support.tiny import assert_same, snapshot, training_of

HOOKS = ("begun", "step", "epoch", "ended", "closed")


class Told(TaskCallback):
    """Notes all that it is told, and raises in one hook."""

    def __init__(self, name: str, calls: list[str], failing: str = "") -> None:
        self.name, self.calls, self.failing = name, calls, failing

    def _note(self, hook: str) -> None:
        self.calls.append(f"{self.name} {hook}")
        if hook == self.failing:
            raise BrokenPipeError(hook)

    def begun(self, training: TaskTraining) -> None:
        self._note("begun")

    def step(self, step: int, steps: int) -> None:
        self._note("step")

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        self._note("epoch")

    def ended(self, seconds: float, kept: float) -> None:
        self._note("ended")

    def closed(self) -> None:
        self._note("closed")


class Kept(TaskCallback):
    """Keeps the state after each epoch; goes on from the one that is given."""

    def __init__(self, state: Mapping[str, Tensor] | None = None, stop: bool = False) -> None:
        self.state, self.stop = state, stop

    def begun(self, training: TaskTraining) -> None:
        if self.state is not None:
            training.load_state(self.state)

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        self.state = {name: value.clone() for name, value in training.state().items()}
        if self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["linear head, MCG", "RanPAC"])
def test_every_callback_is_told_in_order(name: str) -> None:
    case, calls = LEARNERS[name], list[str]()
    model = fresh(case)
    reports = model.learn(data(case, 0), progress=False, callbacks=[Told("a", calls), Told("b", calls)])
    assert all(f"b {call[2:]}" == calls[i + 1] for i, call in enumerate(calls[:-2]) if call[0] == "a")
    mine = [call[2:] for call in calls if call[0] == "a"]
    steps = mine.count("step") // len(reports)
    assert mine == ["begun", *(["step"] * steps + ["epoch"]) * len(reports), "ended", "closed"]
    assert calls[-2:] == ["b closed", "a closed"]  # the first to begin is the last to go


@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_raises_undoes_the_task_and_all_are_closed(hook: str) -> None:
    case, calls = LEARNERS["DER++"], list[str]()
    model, smooth = fresh(case), fresh(case)
    for one in (model, smooth):
        one.learn(data(case, 0), progress=False)
    before = state_of(model, case)
    with pytest.raises(BrokenPipeError):
        model.learn(data(case, 1), progress=False, callbacks=[Told("a", calls), Told("b", calls, hook)])
    assert state_of(model, case) == before
    assert {"a closed", "b closed"} <= set(calls)
    for one in (model, smooth):
        one.learn(data(case, 1), progress=False)
    assert_same(snapshot(model.learner), snapshot(smooth.learner))


@pytest.mark.parametrize("name", ["Soft-TF, Feature ID", "DER++", "L2P, PGP", "RanPAC", "EWC"])
def test_a_task_that_was_stopped_goes_on_from_a_checkpoint_to_the_same_bits(name: str) -> None:
    case = LEARNERS[name]
    config = training_of(case.spec, fresh(case).train_config)
    config = config if case.spec.reads else type(config)(3, 4, config.learning_rate, precision="float32")
    model, smooth, kept = fresh(case), fresh(case), Kept(stop=True)
    for one in (model, smooth):
        one.learn(data(case, 0), progress=False)
    with pytest.raises(KeyboardInterrupt):
        model.learn(data(case, 1), config=config, progress=False, callbacks=[kept])
    reports = model.learn(data(case, 1), config=config, progress=False, callbacks=[Kept(kept.state)])
    whole = smooth.learn(data(case, 1), config=config, progress=False)
    assert [r.epoch for r in reports] == [r.epoch for r in whole][0 if case.spec.reads else 1 :]
    assert_same(snapshot(model.learner), snapshot(smooth.learner))

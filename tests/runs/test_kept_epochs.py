"""A checkpoint that is written while training goes on is the one of its epoch, and is there whenever it is needed."""

from pathlib import Path
from threading import Event, current_thread, main_thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.learners.class_table import ClassTable
from softtf.runs import kept_epochs
from softtf.runs.folder import RunFolder
from softtf.runs.kept_epochs import KeptEpochs, writes_beside
from softtf.screen import Screen
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.loop import TaskCallback, learn_task
from softtf.training.task import EpochReport, TaskTraining
from support.tiny import SOFT_TF, assert_same, empty, task_data

CONFIG = TrainConfig(3, 12, 1.6, precision="float32")


@pytest.fixture(params=[False, True], ids=["at once", "beside"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `KeptEpochs` needs of a run, on a device that has checkpoints written at once or beside."""
    monkeypatch.setattr(kept_epochs, "writes_beside", lambda training: request.param)
    model, told = empty(), list[str]()
    folder = RunFolder(tmp_path / "run")
    model.header.write(folder.learner)
    return SimpleNamespace(
        folder=folder,
        console=Screen(),
        told=told,
        beside=request.param,
        log=lambda event, **_: told.append(event),
        kept=lambda: told.append("kept"),
    )


def begun() -> TaskTraining:
    return begin_training(empty(SOFT_TF).learner, ClassTable(), task_data(0), "first", CONFIG)


class Seen(TaskCallback):
    """Notes the state after each epoch, and may raise in the midst of one."""

    def __init__(self, raising: int = 99) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.raising = raising

    def step(self, step: int, steps: int) -> None:
        if len(self.states) == self.raising:
            raise KeyboardInterrupt

    def epoch(self, training: TaskTraining, report: EpochReport) -> None:
        self.states.append({name: value.clone() for name, value in training.state().items()})


def test_the_last_epochs_state_is_on_disk_before_the_task_is_learned(run: Any) -> None:
    seen = Seen()
    learn_task(begun(), [KeptEpochs(run, 0), seen])
    assert len(seen.states) == 3
    assert_same(run.folder.load_checkpoint(0), seen.states[-1])
    assert [t for t in run.told if t != "kept"] == ["epoch"] * 3 + ["consolidation"]
    assert run.told.count("kept") == 3 and run.told.index("consolidation") > max(
        i for i, told in enumerate(run.told) if told == "kept"
    )


@pytest.mark.slow
def test_what_ends_the_task_leaves_the_state_of_the_last_whole_epoch(run: Any) -> None:
    seen = Seen(raising=2)
    with pytest.raises(KeyboardInterrupt):
        learn_task(begun(), [KeptEpochs(run, 0), seen])
    assert_same(run.folder.load_checkpoint(0), seen.states[1])
    again, rest = begun(), Seen()
    learn_task(again, [KeptEpochs(run, 0), rest])
    whole = Seen()
    learn_task(begun(), [whole])
    assert len(rest.states) == 1
    assert_same(rest.states[-1], whole.states[-1])


def test_a_checkpoint_that_cannot_be_written_ends_the_task(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(task: int, state: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(run.folder, "save_checkpoint", fails)
    with pytest.raises(UserError, match="the disk is full"):
        learn_task(begun(), [KeptEpochs(run, 0)])
    assert "kept" not in run.told and run.told.count("epoch") == 1


def test_a_gpu_trains_while_the_checkpoint_is_written(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first checkpoint is not written before the second epoch has trained all its steps."""
    trained, save = Event(), run.folder.save_checkpoint

    def waits(task: int, state: dict[str, Tensor]) -> None:
        assert (current_thread() is main_thread()) != run.beside
        assert not run.beside or trained.wait(20)
        save(task, state)

    class Steps(TaskCallback):
        def epoch(self, training: TaskTraining, report: EpochReport) -> None:
            if training.epoch == 2:
                trained.set()

    monkeypatch.setattr(run.folder, "save_checkpoint", waits)
    learn_task(begun(), [Steps(), KeptEpochs(run, 0)])
    assert trained.is_set()


@pytest.mark.parametrize(("device", "beside"), [("cpu", False), ("mps", False), ("cuda", True), ("cuda:1", True)])
def test_only_beside_a_gpu_a_thread_writes(device: str, beside: bool) -> None:
    training: Any = SimpleNamespace(loader=SimpleNamespace(device=torch.device(device)))
    assert writes_beside(training) == beside

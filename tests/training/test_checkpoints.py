"""A checkpoint is the one of this run, task and learner, bit for bit, or it is refused and costs its epochs only."""

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.files.tensors import checksum, load_tensors, save_tensors
from softtf.learners import EWC, LearnerSpec
from softtf.learners.class_table import ClassTable
from softtf.runs.folder import RunFolder
from softtf.saving.learner import save_task
from softtf.saving.manifest import Manifest
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support.folders import SOFT_TF
from support.tiny import TRAIN, assert_same, snapshot, task_data, tiny_backbone, train_task

CONFIG = TrainConfig(4, 8, 1.6, precision="float32")


def begun(spec: LearnerSpec = SOFT_TF, config: TrainConfig = CONFIG) -> TaskTraining:
    """The second task of a learner, before its first epoch."""
    learner, classes = spec.new_learner(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0)
    return begin_training(learner, classes, task_data(1), "second", config)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    training = begun()
    for _ in range(2):
        training.run_epoch()
    return {name: value.clone() for name, value in training.state().items()}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learner has two tasks; no test may change it."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "two")
    model = ContinualClassifier(tiny_backbone(), SOFT_TF, TRAIN, device="cpu", seed=3)
    model.header.write(run.learner)
    for task in range(2):
        model.learn(task_data(task), progress=False)
        save_task(run.learner, model.learner, model.classes, task)
    return run.path


@pytest.fixture
def folder(tmp_path: Path, whole_run: Path) -> RunFolder:
    """A copy of that run."""
    return RunFolder(shutil.copytree(whole_run, tmp_path / "run"))


def test_a_checkpoint_comes_back_bit_for_bit(folder: RunFolder, state: Mapping[str, Tensor]) -> None:
    assert folder.load_checkpoint(2) is None
    folder.save_checkpoint(2, state)
    assert_same(folder.load_checkpoint(2), state)


def test_a_flipped_bit_in_a_checkpoint_never_gives_another_state(
    folder: RunFolder, state: Mapping[str, Tensor]
) -> None:
    folder.save_checkpoint(2, state)
    whole = folder.checkpoint.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    draw = random.Random(0)
    bits = {draw.randrange(8 * header) for _ in range(200)} | {draw.randrange(8 * len(whole)) for _ in range(100)}
    for bit in bits:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        folder.checkpoint.write_bytes(data)
        with pytest.raises(UserError, match=r"checkpoint\.safetensors") as caught:
            folder.load_checkpoint(2)
        assert "\n" not in str(caught.value)


def test_the_checkpoint_of_another_task_or_run_is_not_gone_on_from(
    folder: RunFolder, state: Mapping[str, Tensor]
) -> None:
    folder.save_checkpoint(1, state)
    assert folder.load_checkpoint(2) is None  # what the task before left
    folder.save_checkpoint(3, state)
    with pytest.raises(UserError, match="is of another run"):
        folder.load_checkpoint(2)
    folder.save_checkpoint(2, state)
    for changed in ("task-002.safetensors", "task-002.json"):
        assert (folder.learner / changed).exists()
    other = ContinualClassifier(tiny_backbone(), SOFT_TF, TRAIN, device="cpu", seed=4)
    other.header.write(folder.learner)
    with pytest.raises(UserError, match="is of another run: it goes on from another learner"):
        folder.load_checkpoint(2)


def test_a_checkpoint_of_softtf_0_1_is_refused_unless_it_is_only_what_an_earlier_task_left(
    folder: RunFolder, state: Mapping[str, Tensor]
) -> None:
    save_tensors(folder.checkpoint, state, {"task": "1"})
    assert folder.load_checkpoint(2) is None
    with pytest.raises(UserError, match=r"has no SHA-256 \(softtf 0\.1 wrote none\)"):
        folder.load_checkpoint(1)


@pytest.mark.parametrize("task", ["", "abc", "1.0", "1e3", " 1", "-1", "01", "\uff11", "1" * 5000])
def test_what_is_no_number_of_a_task_is_refused(task: str, folder: RunFolder, state: Mapping[str, Tensor]) -> None:
    learner = Manifest.read(folder.learner).identity
    save_tensors(folder.checkpoint, state, {"task": task, "learner": learner, "sha256": checksum(state, task, learner)})
    with pytest.raises(UserError, match="which is no number of a task") as caught:
        folder.load_checkpoint(2)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def first(tensors: dict[str, Tensor], start: str) -> str:
    return next(name for name in sorted(tensors) if name.startswith(start))


CHANGES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "no epoch": (lambda t: t.pop("epoch"), "'epoch' is missing"),
    "epoch beyond the last": (
        lambda t: t.update(epoch=torch.tensor(5)),
        "'epoch' has the value 5, expected from 0 to 4",
    ),
    "epoch below zero": (lambda t: t.update(epoch=torch.tensor(-1)), "'epoch' has the value -1, expected from 0 to 4"),
    "epoch of reals": (lambda t: t.update(epoch=torch.tensor(2.0)), "'epoch' has type torch.float32"),
    "epochs in a row": (lambda t: t.update(epoch=torch.tensor([2, 2])), "'epoch' has shape"),
    "parameter missing": (lambda t: t.pop(first(t, "parameter/")), "is missing"),
    "parameter of another shape": (lambda t: t.update({first(t, "parameter/"): torch.zeros(1, 1, 1)}), "has shape"),
    "parameter in float64": (
        lambda t: t.update({first(t, "parameter/"): t[first(t, "parameter/")].double()}),
        "has type torch.float64",
    ),
    "NaN": (lambda t: t[first(t, "parameter/")].view(-1)[:1].fill_(float("nan")), "has 1 NaN of"),
    "infinite moment": (
        lambda t: t[first(t, "optimizer/exp_avg/")].view(-1)[:2].fill_(-float("inf")),
        "has 2 infinite",
    ),
    "moment of another shape": (lambda t: t.update({first(t, "optimizer/exp_avg_sq/"): torch.zeros(1)}), "has shape"),
    "moment missing": (lambda t: t.pop(first(t, "optimizer/exp_avg_sq/")), "is missing"),
    "step missing": (lambda t: t.pop(first(t, "optimizer/step/")), "is missing"),
    "another optimizer's": (
        lambda t: t.update({"optimizer/momentum_buffer/x": torch.zeros(1)}),
        "'optimizer/momentum_buffer/x' is not expected",
    ),
    "something else": (lambda t: t.update(x=torch.zeros(1)), "'x' is not expected"),
    "memory of another method": (lambda t: t.update({"memory/x": torch.zeros(1)}), "'memory/x' is not expected"),
    "steps below zero": (lambda t: t.update({first(t, "optimizer/step/"): torch.tensor(-1.0)}), "has the value -1"),
    "no step": (lambda t: t.update({first(t, "optimizer/step/"): torch.tensor(0.0)}), "has the value 0"),
    "too many steps": (lambda t: t.update({first(t, "optimizer/step/"): torch.tensor(4.6e18)}), "has the value 4.6"),
    "a square below zero": (
        lambda t: t[first(t, "optimizer/exp_avg_sq/")].view(-1)[:1].fill_(-1.0),
        "has the value -1",
    ),
    "memory that is not there": (lambda t: t.update({"unchanged/x": torch.zeros(0)}), "memories that this learner"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(kind: str, state: Mapping[str, Tensor]) -> None:
    change, words = CHANGES[kind]
    tensors = {name: value.clone() for name, value in state.items()}
    change(tensors)
    training = begun()
    before = snapshot(training.learner)
    with pytest.raises(UserError, match=words):
        training.load_state(tensors)
    assert training.epoch == 0 and not training.optimizer.state
    assert_same(snapshot(training.learner), before)
    training.load_state(state)
    assert training.epoch == 2


def test_what_a_method_remembers_keeps_its_form(tmp_path: Path) -> None:
    """EWC goes on from the Fisher information of the tasks before: in a checkpoint it is named, or of the same form."""
    spec = EWC(fisher_samples=2)
    training = begun(spec)
    training.run_epoch()
    save_tensors(tmp_path / "state", training.state())
    tensors = load_tensors(tmp_path / "state")
    name = first(tensors, "unchanged/").removeprefix("unchanged/")
    true = training.learner.memory[name]
    for value, words in ((true.half(), "has type torch.float16"), (true[None], "has shape")):
        changed = {k: v for k, v in tensors.items() if k != f"unchanged/{name}"} | {f"memory/{name}": value}
        with pytest.raises(UserError, match=words):
            begun(spec).load_state(changed)
    with pytest.raises(UserError, match=f"'{name}' is missing"):
        begun(spec).load_state({k: v for k, v in tensors.items() if k != f"unchanged/{name}"})
    begun(spec).load_state(tensors)

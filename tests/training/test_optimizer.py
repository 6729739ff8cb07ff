"""The fused kernel of a GPU takes the same steps up to rounding, and a checkpoint of either kind is gone on from."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from softtf.files.tensors import load_tensors, save_tensors
from softtf.learners.class_table import ClassTable
from softtf.training import optimizer
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support.tiny import SOFT_TF, task_data, tiny_backbone

CONFIG = TrainConfig(4, 8, 1.6, "cosine", precision="float32", weight_decay=0.1)
KINDS = ["adam", "adamw", "sgd"]


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let the CPU have fused steps; `undo` ends it."""
    monkeypatch.setattr(optimizer, "fuses", lambda parameters: True)
    return monkeypatch


def begun(kind: str) -> TaskTraining:
    learner = SOFT_TF.new_learner(tiny_backbone(), 3)
    return begin_training(learner, ClassTable(), task_data(0), "first", replace(CONFIG, optimizer=kind))  # type: ignore[arg-type]


def ended(training: TaskTraining) -> dict[str, torch.Tensor]:
    while not training.finished:
        training.run_epoch()
    return {name: parameter.detach() for name, parameter in training.parameters.items()}


def test_only_real_parameters_that_are_all_on_a_gpu_are_fused() -> None:
    def parameter(device: str, real: bool = True) -> SimpleNamespace:
        return SimpleNamespace(device=torch.device(device), is_floating_point=lambda: real)

    assert optimizer.fuses([parameter("cuda"), parameter("cuda:1")])  # type: ignore[list-item]
    for other in (parameter("cpu"), parameter("mps"), parameter("cuda", False)):
        assert not optimizer.fuses([parameter("cuda"), other])  # type: ignore[list-item]


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_cpu_nothing_is_fused(kind: str) -> None:
    assert not begun(kind).optimizer.defaults["fused"]


@pytest.mark.parametrize("kind", KINDS)
def test_fused_steps_are_the_plain_ones_up_to_rounding(kind: str, fused: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(7, 5, 3, generator=draw)
    config = replace(CONFIG, optimizer=kind)  # type: ignore[arg-type]

    def after_all() -> torch.Tensor:
        parameter = torch.nn.Parameter(start.clone())
        steps = optimizer.optimizer_of(config, [{"params": [parameter]}], 0.05)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            steps.step()
        return parameter.detach()

    found = after_all()
    assert begun(kind).optimizer.defaults["fused"]
    fused.undo()
    expected = after_all()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert (expected - start).abs().min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fused_first", [False, True])
def test_a_checkpoint_of_one_kind_is_gone_on_from_by_the_other(
    kind: str, fused_first: bool, fused: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    half, other = begun(kind), begun(kind)
    fused.undo()
    plain, again = begun(kind), begun(kind)
    first, second = (half, plain) if fused_first else (plain, half)
    for _ in range(2):
        first.run_epoch()
    save_tensors(tmp_path / "state", first.state())
    state = load_tensors(tmp_path / "state")
    second.load_state(state)
    for name, value in second.state().items():
        assert torch.equal(value, state[name]) and value.data_ptr() != state[name].data_ptr()
    same = other if fused_first else again
    same.load_state(state)
    here, there = ended(same), ended(second)
    whole = ended(first)
    for name, value in whole.items():
        assert torch.equal(here[name], value)  # the same kind: bit for bit
        torch.testing.assert_close(there[name], value, rtol=0, atol=1e-3)  # a step is up to 0.05

"""A task that fails, or is interrupted, leaves no trace."""

from typing import Any

import pytest
import torch

from contracts.tiny import (
    TRAIN,
    assert_same,
    classifier,
    pictures,
    snapshot,
    task_data,
    task_labels,
    tiny_backbone,
)
from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import TrainingError
from softtf.learners import DualPrompt
from softtf.training import TrainConfig

SOFT_TF = DualPrompt(e_layers=(2, 3), adapt=SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)"))


def empty(spec: Any = SOFT_TF, **options: Any) -> ContinualClassifier:
    return ContinualClassifier(tiny_backbone(), spec, TRAIN, device="cpu", seed=3, **options)


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
    assert_same(snapshot(model.learner), snapshot(classifier(SOFT_TF, 1, inference=None).learner))

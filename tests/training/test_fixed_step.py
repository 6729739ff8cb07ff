"""A step that is called fixed is the same work for every batch, and one that is not is found."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS
from softtf.backbones import Backbone
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.linear_head import LinearHeadLearner
from softtf.testing.fixed_step import check_fixed_step, check_replays
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining
from support.slow import each
from support.tiny import task_data, tiny_backbone, tiny_clip
from support.tiny_bert import text_task, tiny_bert

CONFIG = TrainConfig(4, 5, 0.7, "cosine", precision="float32")


def opened(name: str, texts: bool = False, record: bool = True) -> GradientTraining | None:
    """The second task of a method, open; None for one without steps that can be recorded."""
    backbone: Backbone = tiny_clip() if "CLIP" in name else tiny_bert() if texts else tiny_backbone()
    learner, classes = LEARNERS[name].spec.new_learner(backbone, 0), ClassTable()
    for task in range(2):
        data = (text_task if texts else task_data)(task)
        training = begin_training(learner, classes, data, "", replace(CONFIG, record=record and task == 1))
        if not isinstance(training, GradientTraining) or not learner.step_is_fixed:
            return None
        if task == 0:
            training.run_epoch()
            training.finish()
    return training


SOLVED = ("NCM", "RanPAC", "Fly-CL", "KLDA", "LayUP", "block ridge", "CLIP zero-shot")
OTHERS = ("IDBR", "DER++", "BiC", "MBPA++", "SLM", "MOS", "HiDe-Prompt", "NoRGa", "DualPrompt + LoRA, dropout")
"""Methods whose steps are drawn at random, read values of a batch, or read its rows."""
NAMES = [name for name, case in LEARNERS.items() if not case.texts]


@each("name", NAMES, ("Soft-TF", "CODA-Prompt"))
def test_a_fixed_step_reads_nothing_but_the_tensors_of_a_batch(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Soft-TF", "L2P", "CODA-Prompt", "LwF", "Progressive Prompts", "IDBR"])
def test_a_fixed_step_on_texts_does_not_either(name: str) -> None:
    check(name, texts=True)


def check(name: str, texts: bool = False) -> None:
    """A method has steps that can be recorded unless it is listed above, and they are fixed."""
    training = opened(name, texts)
    assert (training is None) == name.startswith(SOLVED + OTHERS)
    if training is None:
        return
    with training.learner.computing_in(torch.float64):
        batch = next(training._batches(training.queries.get() if training.queries else None))
        check_fixed_step(training.learner, batch)
    check_replays(lambda record: opened(name, texts, record))  # type: ignore[arg-type,return-value]


class DiffersBetweenSteps(LinearHeadLearner):
    """One whose step is not the same for every batch, in one of several ways."""

    reads: Callable[[Any, Batch], object]
    changes: Callable[[Any], object]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        factor = type(self).reads(self, batch)
        losses = super().loss(batch)
        return (
            {name: value * factor for name, value in losses.items()} if isinstance(factor, float | Tensor) else losses
        )

    def after_backward(self) -> None:
        super().after_backward()
        type(self).changes(self)


def differing(
    monkeypatch: pytest.MonkeyPatch, reads: Any = None, changes: Any = None, record: bool = True
) -> GradientTraining:
    monkeypatch.setattr(
        DiffersBetweenSteps, "reads", staticmethod(reads or (lambda learner, batch: None)), raising=False
    )
    monkeypatch.setattr(DiffersBetweenSteps, "changes", staticmethod(changes or (lambda learner: None)), raising=False)
    training = opened("linear head", record=record)
    assert training is not None
    training.learner.__class__ = DiffersBetweenSteps
    return training


@pytest.mark.parametrize(
    "reads",
    [
        lambda _, batch: batch.targets.tolist(),
        lambda _, batch: batch.inputs[batch.targets > 0],
        lambda _, batch: batch.inputs.clone().index_put_((batch.targets > 0,), batch.inputs.new_zeros(())),
        lambda _, batch: 1 / (1 + batch.step),
        lambda _, batch: batch.step == 0,
        lambda _, batch: batch.step in (0, 5),
        lambda _, batch: 1.0 if batch.step else 2.0,
        lambda _, batch: f"{batch.step}",
        lambda _, batch: len(batch.rows),
        lambda _, batch: batch.inputs.new_zeros(9)[batch.rows],
        lambda _, batch: batch.targets + torch.arange(len(batch.targets)).to(batch.targets),
        lambda _, batch: torch.tensor(1.0).to(batch.inputs.device),
    ],
)
def test_a_step_that_cannot_be_recorded_is_found(reads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    training = differing(monkeypatch, reads)
    with training.learner.computing_in(torch.float64):
        batch = next(training._batches(None))
        with pytest.raises(AssertionError, match="the same work for every batch, as step_is_fixed says"):
            check_fixed_step(training.learner, batch)


def count_up(learner: Any) -> None:
    learner.steps = getattr(learner, "steps", 0) + 1


def remember(learner: Any) -> None:
    count_up(learner)
    learner.memory = learner.memory | {"mean": torch.tensor(float(learner.steps))}


@pytest.mark.parametrize(
    ("reads", "changes"),
    [
        (lambda learner, _: 1.0 + getattr(learner, "steps", 0), count_up),
        (lambda learner, _: learner.memory.get("mean", torch.tensor(1.0)), remember),
    ],
)
def test_a_step_that_reads_what_other_steps_change_is_found(
    reads: Any, changes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="a step that is replayed trains as one that is run"):
        check_replays(lambda record: differing(monkeypatch, reads, changes, record))
    check_replays(lambda record: differing(monkeypatch, record=record))

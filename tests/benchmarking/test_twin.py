"""The naive twin computes what softtf computes: only then is a ratio of their times worth anything."""

import pytest
import torch
from benchmarks.training import Replayed, pairs
from benchmarks.twin import NaiveTwin, TwinTraining, twin_of
from torch import Tensor

from softtf.adaptations import SoftMask
from softtf.inference import inference_named
from softtf.learners import DualPrompt, Learner
from softtf.learners.base import Batch
from softtf.network import SharedPass
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining
from softtf.training.task import TaskTraining
from support.tiny import CLASSES, TRAIN, inputs, learned, task_data

SPECS = {
    "apart": DualPrompt((1, 2), 2, (3, 4), 3, key_weight=0.7, adapt=SoftMask((3, 4), init="uniform(0.5,1.5)")),
    "shared block, all weights": DualPrompt((1, 3), 2, (3,), 1, adapt=SoftMask((2, 4), "w/ FF", "uniform(0.5,1.5)")),
}
both = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def in_training(spec: DualPrompt) -> tuple[Learner, TaskTraining]:
    """A float64 learner whose third task is being trained, on batches that repeat."""
    model = learned(spec, 2)
    learner = model.learner
    training = begin_training(learner, model.classes, task_data(2), "task", TRAIN)
    learner.double()
    training = GradientTraining(learner, training.data, TRAIN)
    training.loader = Replayed(training.loader)
    training.dtype = torch.float64
    return learner, training


def in_float64(training: TaskTraining) -> list[tuple[Tensor, Tensor]]:
    return [(images.double(), targets) for images, targets in pairs(training)]


def by_name(twin: NaiveTwin, learner: Learner) -> dict[str, Tensor]:
    """The twin's trained parameters under the learner's names."""
    task = twin.tasks[-1]
    named = {f"SoftMasks.task.layer{b + 1:02d}_{name}": m for (b, name), m in task.masks.items()}
    named |= {f"ExpertPrefix.task.layer{b + 1:02d}_prefix": p for b, p in task.prompts.items()}
    named |= {f"GeneralPrefix.prompts.layer{int(b) + 1:02d}_prefix": p for b, p in twin.general.items()}
    named |= {"task_keys.task.key": task.key, "head.task.weight": task.weight, "head.task.bias": task.bias}
    assert named.keys() == learner.trained_parameters().keys()
    return named


@both
def test_the_same_loss_and_gradients(spec: DualPrompt) -> None:
    learner, training = in_training(spec)
    twin = twin_of(learner)
    images, targets, rows = training.loader.batches[0]
    with learner.computing_in(torch.float64):
        ours = sum(learner.loss(Batch(images, targets, rows)).values())
    theirs = twin.loss(images.double(), learner.own(targets))
    torch.testing.assert_close(theirs, ours)
    parameters = learner.trained_parameters()
    expected = torch.autograd.grad(ours, list(parameters.values()))
    named = by_name(twin, learner)
    for name, gradient in zip(parameters, expected, strict=True):
        (found,) = torch.autograd.grad(theirs, named[name], retain_graph=True)
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found, gradient, msg=lambda text, name=name: f"{name}: {text}")


@both
def test_the_same_parameters_after_an_epoch(spec: DualPrompt) -> None:
    learner, training = in_training(spec)
    twin = twin_of(learner)
    start = {name: value.clone() for name, value in learner.trained_parameters().items()}
    report = training.run_epoch()
    loss = TwinTraining(twin, training.rate, TRAIN.clip_norm).run(in_float64(training))
    assert len(training.loader) > 2 and loss == pytest.approx(sum(report.losses.values()))
    for name, value in by_name(twin, learner).items():
        torch.testing.assert_close(value, learner.trained_parameters()[name], rtol=0, atol=1e-6)
        assert (value - start[name]).abs().max() > 1e-3


@both
def test_the_same_logits_with_the_task_given(spec: DualPrompt) -> None:
    learner, images = learned(spec).learner, inputs(4, 1)
    twin = twin_of(learner)
    with torch.no_grad(), learner.computing_in(torch.float64):
        trunk = SharedPass(learner.network, images).trunk
        for task in range(3):
            torch.testing.assert_close(twin.oracle(images, task), learner.logits(trunk, task))
    assert twin.oracle(images, 0).shape == (4, sum(CLASSES))


@both
def test_the_same_tasks_named_for_a_batch_of_one(spec: DualPrompt) -> None:
    """In larger batches the twin takes one vote, which softtf does only where it is asked to."""
    learner, images = learned(spec).learner, inputs(12, 1)
    twin = twin_of(learner)
    with torch.no_grad(), learner.computing_in(torch.float64):
        shared = SharedPass(learner.network, images)
        keys = inference_named("prompt-id", learner).scores(learner, shared)
        gradients = inference_named("gradient-id-key-prompts", learner).scores(learner, shared)
    for i in range(12):
        one = images[i : i + 1]
        assert twin.key_vote(one) == keys[i].argmax()
        torch.testing.assert_close(twin.gradient_scores(one), gradients[i])
        torch.testing.assert_close(twin.prompt_id(one), twin.oracle(one, int(keys[i].argmax())))
        torch.testing.assert_close(twin.gradient_id(one), twin.oracle(one, int(gradients[i].argmax())))
    assert len(keys.argmax(1).unique()) > 1 and len(gradients.argmax(1).unique()) > 1


def test_one_vote_answers_for_the_batch() -> None:
    learner, images = learned(SPECS["apart"]).learner, inputs(12, 1)
    twin = twin_of(learner)
    votes = [twin.key_vote(image[None]) for image in images]
    assert len(set(votes)) > 1
    winner = max(sorted(set(votes)), key=votes.count)
    torch.testing.assert_close(twin.prompt_id(images), twin.oracle(images, winner))


def test_the_twin_keeps_its_own_copies() -> None:
    learner, training = in_training(SPECS["apart"])
    before = {name: value.clone() for name, value in learner.trained_parameters().items()}
    twin = twin_of(learner)
    TwinTraining(twin, 0.1).run(in_float64(training))
    assert all(torch.equal(before[name], value) for name, value in learner.trained_parameters().items())
    frozen = learner.network.backbone.vit.state_dict()
    for model in (twin.model, twin.query_model):
        assert all(torch.equal(value, frozen[name]) for name, value in model.state_dict().items())

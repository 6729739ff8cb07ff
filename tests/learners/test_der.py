"""DER: its classifier and its loss written out, what is trained and what is not; and the gate beside it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations import TaskWeights
from softtf.errors import UserError
from softtf.learners import DER
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.der import DECAY, DERLearner, ExpandingHeads, fit_classifier
from softtf.network import SharedPass
from softtf.runs.config import EvaluateConfig
from softtf.training.data import begin_training
from support.tiny import (
    CLASSES,
    TRAIN,
    classifier,
    exact,
    generator,
    inputs,
    noise,
    pictures,
    task_data,
    tiny_backbone,
)

SPEC = DER(exemplars=20, extractor=TaskWeights((3, 4)), mcg=3, storage="float32")


def heads(tasks: int = 3) -> ExpandingHeads:
    made = ExpandingHeads(4)
    for task in range(tasks):
        made.add_task(CLASSES[task], generator(task))
    return made


def in_training() -> DERLearner:
    """A learner in float64 in its second task, away from where it started."""
    learner = exact(classifier(SPEC, 1)).learner
    learner.open_slots(CLASSES[1])
    learner.double()
    for number, parameter in enumerate(learner.trained_parameters().values()):
        parameter.data.add_(0.1 * noise(*parameter.shape, seed=number))
    return learner


def columns_of(learner: DERLearner, x: Tensor) -> list[Tensor]:
    trunk = SharedPass(learner.network, x).trunk
    return [learner.network.top(trunk, task=task) for task in range(learner.num_tasks)]


def test_the_loss_is_both_cross_entropies_written_out() -> None:
    learner = in_training()
    x, targets = inputs(6, 1), torch.tensor([0, 1, 2, 3, 4, 3])  # three of the old classes, three of the two new ones
    with learner.computing_in(torch.float64):
        found = learner.loss(Batch(x, targets, torch.arange(6)))
        old, new = columns_of(learner, x)
    slots, auxiliary = learner.network.heads, learner.extra_slots["auxiliary"].slot(1)
    first, second = slots.slot(0), slots.slot(1)
    logits = torch.cat([
        old @ first["weight"].T + new @ second["earlier"].T + first["bias"],
        torch.cat([old, new], 1) @ second["weight"].T + second["bias"],
    ], 1)  # fmt: skip
    torch.testing.assert_close(found["cross_entropy"], F.cross_entropy(logits, targets))
    new_or_old = torch.tensor([2, 2, 2, 0, 1, 0])
    expected = F.cross_entropy(new @ auxiliary["weight"].T + auxiliary["bias"], new_or_old)
    torch.testing.assert_close(found["auxiliary"], expected)


def test_there_is_no_auxiliary_loss_in_the_first_task_and_none_of_it_is_kept() -> None:
    learner, table = SPEC.new_learner(tiny_backbone(), 0), ClassTable()
    training = begin_training(learner, table, task_data(0), "first", TRAIN)
    assert training.run_epoch().losses.keys() == {"cross_entropy"}
    training.finish()
    training = begin_training(learner, table, task_data(1), "second", TRAIN)
    assert training.run_epoch().losses.keys() == {"cross_entropy", "auxiliary"}
    assert learner.extra_slots["auxiliary"].slot(1)["weight"].shape == (CLASSES[1] + 1, 32)
    training.finish()
    assert not [name for task in range(2) for name in learner.task_state_dict(task) if name.startswith("auxiliary")]


def test_a_new_extractor_starts_as_the_last_one_and_only_it_is_trained() -> None:
    learner, table = SPEC.new_learner(tiny_backbone(), 0), ClassTable()
    for task in range(2):
        training = begin_training(learner, table, task_data(task), f"task {task}", TRAIN)
        if task:
            old, new = columns_of(learner, inputs(3))
            torch.testing.assert_close(old, new)  # to the last bits, in which older kernels differ
        training.run_epoch()
        training.finish()
    old, new = columns_of(learner, inputs(3))
    assert (old - new).abs().max() > 1e-4


def test_a_new_tasks_classifier_leaves_the_old_logits_as_they_were() -> None:
    """Until it is trained: earlier classes read nothing of the new features."""
    small, large = heads(2), heads(3)
    features = noise(5, 12).float()
    before = small(features[:, :8], range(2))
    torch.testing.assert_close(large(features, range(3))[:, : before.shape[1]], before)


def test_a_classifier_that_was_set_is_the_one_that_answers() -> None:
    made = heads()
    matrix, bias = noise(sum(CLASSES), 12).float(), noise(sum(CLASSES)).float()
    made.set(matrix, bias)
    assert torch.equal(made.matrix(), matrix)
    features = noise(5, 12, seed=1).float()
    torch.testing.assert_close(made(features, range(3)), features @ matrix.T + bias)


def test_the_fitted_classifier_is_the_minimum() -> None:
    features, targets = noise(60, 7), torch.arange(60) % 4
    weight, bias = (value.requires_grad_() for value in fit_classifier(features, targets, 4))
    loss = F.cross_entropy(features @ weight.T + bias, targets) + DECAY / 2 * weight.square().sum()
    gradients = torch.autograd.grad(loss, (weight, bias))
    assert all(gradient.abs().max() < 1e-4 for gradient in gradients)


def test_the_classifier_is_fitted_to_as_many_exemplars_of_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def fitted(features: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        seen.append(targets)
        assert features.shape == (len(targets), 32 * (len(seen) + 1))
        return fit_classifier(features, targets, classes)

    monkeypatch.setattr("softtf.learners.der.fit_classifier", fitted)
    learner = classifier(SPEC).learner
    assert [torch.bincount(targets).tolist() for targets in seen] == [[4] * 5, [2] * 9]
    assert torch.bincount(learner.memory["exemplars.columns"]).tolist() == [2] * 9


def test_the_answer_is_the_same_whichever_task_is_asked_and_the_gate_restricts_it() -> None:
    model = exact(classifier(SPEC))
    images = pictures(8, 5)
    assert model.learner.policies == ("mcg", "none")
    free, gated = model.answer(images, inference="none"), model.answer(images, inference="mcg:own")
    owners = model.learner.column_tasks()
    for probabilities, task, all_of_them in zip(gated.probabilities, gated.tasks, free.probabilities, strict=True):
        own = torch.where(owners == task, all_of_them, 0)
        torch.testing.assert_close(probabilities, own / own.sum(), rtol=0, atol=1e-6)


def test_with_its_gate_it_answers_by_it_unless_asked_not_to() -> None:
    model = classifier(SPEC, 0)
    assert model.inference.code == "mcg:own"
    assert [p.code for p in EvaluateConfig().policies_for(model.learner)] == ["mcg:own", "none", "oracle"]
    assert classifier(replace(SPEC, mcg=0), 0).inference.code == "none"


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="exemplars"):
        DER(exemplars=0)
    with pytest.raises(UserError, match="auxiliary"):
        DER(auxiliary=-1.0)
    with pytest.raises(UserError, match="mcg"):
        DER(mcg=-1).new_learner(tiny_backbone(), 0)
    with pytest.raises(UserError, match="do not suffice"):
        classifier(DER(exemplars=4, extractor=TaskWeights((4,))), 2)

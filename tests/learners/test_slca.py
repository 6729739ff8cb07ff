"""SLCA's rates, its alignment against a slow loop, and what the next task starts from."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.learners import FT, SLCA
from softtf.learners.class_table import ClassTable
from softtf.learners.slca import SLCALearner
from softtf.statistics.class_gaussians import add_gaussians
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining
from support.tiny import CLASSES, noise, task_data, tiny_backbone, train_task
from support.tuned import PLAIN, cross_entropy, in_task, loss_of, slow_logits, trained, whole_batch

SMALL = SLCA(align_epochs=2, align_samples=6)


def learned(spec: SLCA, tasks: int = 2) -> SLCALearner:
    learner = trained(spec, tasks)
    assert isinstance(learner, SLCALearner)
    return learner


def test_the_backbone_learns_at_its_share_of_the_rate() -> None:
    training = in_task(replace(SMALL, backbone_rate=0.02), 1)
    assert isinstance(training, GradientTraining)
    for group in training.optimizer.param_groups:
        names = {n for n, p in training.parameters.items() if any(p is q for q in group["params"])}
        assert {n.partition(".")[0] for n in names} == {"head" if group["factor"] == 1 else "FineTunedWeights"}
        assert group["factor"] in (1, 0.02)


def test_stage_1_is_the_cross_entropy_over_own_classes() -> None:
    training = in_task(SMALL, 1)
    batch = whole_batch(training)
    logits = slow_logits(training.learner.network, batch.inputs)[:, 3:]
    expected = cross_entropy(logits, [t - 3 for t in batch.targets.tolist()])
    torch.testing.assert_close(loss_of(training, batch)["cross_entropy"], expected)


def test_the_alignment_loss_is_the_cross_entropy_of_normed_logits_sample_by_sample() -> None:
    learner = learned(SMALL)
    features, targets = noise(6, 32, seed=1), torch.tensor([0, 4, 2, 1, 3, 3])
    head = {name: value.double() for name, value in learner.aligned.items()}
    terms = []
    for f, target in zip(features, targets.tolist(), strict=True):
        z = head["weight"] @ f + head["bias"]
        mean = (float(z[:3].norm()) + float(z[3:].norm())) / 2
        scaled = [float(v) / (0.1 * mean) for v in z]
        terms.append(-F.log_softmax(torch.tensor(scaled, dtype=torch.float64), 0)[target])
    torch.testing.assert_close(learner.alignment_loss(features, targets, head), torch.stack(terms).mean())
    assert learner.mean_scales().tolist() == pytest.approx([0.95] * 3 + [1.0] * 2)


def test_the_next_task_starts_from_the_heads_of_stage_1_and_the_aligned_one_answers() -> None:
    learner = learned(SMALL)
    heads = [learner.network.heads.slot(t)["weight"].detach().clone() for t in range(2)]
    aligned = learner.aligned["weight"]
    assert aligned.shape == (5, 32) and not torch.allclose(aligned, torch.cat(heads))
    classes = ClassTable()
    for task in range(2):
        classes.add(task_data(task).classes, str(task))
    begin_training(learner, classes, task_data(2), "third", PLAIN)
    assert all(torch.equal(learner.network.heads.slot(t)["weight"], heads[t]) for t in range(2))


def test_without_epochs_of_alignment_it_is_sequential_fine_tuning_over_own_classes() -> None:
    ours = learned(replace(SMALL, align_epochs=0, backbone_rate=1.0), 3)
    plain, classes = FT(classes="own").new_learner(tiny_backbone(), 3), ClassTable()
    for task in range(3):
        train_task(plain, classes, task, PLAIN)
    both = [dict(learner.network.named_parameters()) for learner in (ours, plain)]
    assert both[0].keys() == both[1].keys()
    assert all(torch.equal(value, both[1][name]) for name, value in both[0].items())
    weights: list[Tensor] = [ours.network.heads.slot(t)["weight"] for t in range(3)]
    assert torch.equal(ours.aligned["weight"], torch.cat(weights).float())


def test_alignment_makes_classes_of_different_tasks_comparable() -> None:
    """Five Gaussian classes; one task's head shouts, so that it takes all answers until it is aligned."""
    learner = learned(replace(SMALL, align_epochs=30, align_samples=40))
    labels = torch.arange(5).repeat_interleave(50)
    features = 4 * noise(5, 32, seed=1)[labels] + noise(250, 32, seed=2)
    learner.memory |= add_gaussians({}, features, labels)
    start = {"weight": torch.cat([torch.zeros(3, 32), noise(2, 32).float()]), "bias": torch.tensor([0.0, 0, 0, 50, 50])}
    aligned = learner.align(start)
    right = [float((learner.class_logits(features, h).argmax(1) == labels).double().mean()) for h in (start, aligned)]
    assert right[0] < 0.5 and right[1] > 0.95
    assert sum(CLASSES[:2]) == 5

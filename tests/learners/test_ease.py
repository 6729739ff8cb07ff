"""EASE's prototypes and scores, against double loops."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from softtf.adaptations import Adapter, SoftMask
from softtf.classifier import ContinualClassifier
from softtf.learners import EASE
from softtf.learners.class_table import ClassTable
from softtf.learners.ease import PROTOTYPES, EASELearner, synthesised
from softtf.network import SharedPass
from softtf.training.data import begin_training
from support.tiny import CLASSES, classifier, inputs, noise, pictures, task_data, tiny_backbone, train_task
from support.tuned import PLAIN, cross_entropy, loss_of, trained, whole_batch

SPEC = EASE(Adapter("all", 3, "mlp"), others_weight=0.3, frozen_weight=0.5)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


def learned(spec: EASE, tasks: int = 3) -> EASELearner:
    learner = trained(spec, tasks)
    assert isinstance(learner, EASELearner)
    return learner


def test_prototypes_of_old_classes_in_newer_spaces_are_weighted_means_of_newer_classes() -> None:
    prototypes, tasks = noise(7, 3, 5), torch.tensor([0, 0, 1, 1, 1, 2, 2])
    found = synthesised(prototypes, tasks)
    for a in range(7):
        for j in range(3):
            i = int(tasks[a])
            if j <= i:
                assert torch.equal(found[a, j], prototypes[a, j])
                continue
            newer = [b for b in range(7) if tasks[b] >= j]
            weights = torch.tensor([cosine(prototypes[a, i], prototypes[b, i]) for b in newer]).double().exp()
            mean = sum(w * prototypes[b, j] for w, b in zip(weights / weights.sum(), newer, strict=True))
            torch.testing.assert_close(found[a, j], mean)


def test_exact_prototypes_are_class_means_in_the_spaces_so_far_and_never_change() -> None:
    learner, classes = SPEC.new_learner(tiny_backbone(), 3), ClassTable()
    start = 0
    for task in range(3):
        before = learner.memory.get(PROTOTYPES)
        loader = train_task(learner, classes, task, PLAIN).loader
        images = loader.prepared(loader.loaded(range(4 * CLASSES[task])))
        found = learner.memory[PROTOTYPES]
        with torch.no_grad(), learner.computing_in(torch.float32):
            trunk = SharedPass(learner.network, images).trunk
            for j in range(task + 1):
                features = learner.network.top(trunk, task=j)
                for c in range(CLASSES[task]):
                    mean = features[4 * c : 4 * c + 4].mean(0).float()
                    torch.testing.assert_close(found[start + c, j], mean, rtol=1e-4, atol=1e-4)
        for c, t in enumerate(learner.column_tasks().tolist()[:start]):
            assert before is not None and torch.equal(found[c, : t + 1], before[c, : t + 1])
        start += CLASSES[task]


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_score_is_the_cosine_in_the_own_space_and_a_share_of_those_in_the_others(tasks: int) -> None:
    learner, x = learned(SPEC, tasks), inputs(3, 5)
    with torch.no_grad():
        shared = SharedPass(learner.network, x)
        logits = learner.logits(shared.trunk, 0)
        features = [learner.network.top(shared.trunk, task=j) for j in range(tasks)]
        found = learner.scores(torch.stack(features, 1), shared.query, learner.memory)
        ratio = found / logits
        torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))
    prototypes, frozen = (learner.memory[name].double() for name in (PROTOTYPES, "frozen"))
    for b in range(3):
        for c, i in enumerate(learner.column_tasks().tolist()):
            score = cosine(features[i][b], prototypes[c, i]) + 0.5 * cosine(shared.query[b], frozen[c])
            others = [cosine(features[j][b], prototypes[c, j]) for j in range(tasks) if j != i]
            score += 0.3 * sum(others) / max(1, tasks - 1)
            assert float(found[b, c]) == pytest.approx(score, abs=1e-6)


def test_the_loss_is_the_cross_entropy_of_scaled_cosines_over_own_classes() -> None:
    learner, classes = SPEC.new_learner(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0, PLAIN)
    training = begin_training(learner, classes, task_data(1), "second", PLAIN)
    learner.double()
    slot = learner.extra_slots["cosine_head"].slot(1)  # type: ignore[operator]
    slot["scale"].data.fill_(4.0)
    batch = whole_batch(training)
    with learner.computing_in(torch.float64), torch.no_grad():
        features = learner.network.top(SharedPass(learner.network, batch.inputs).trunk, task=1)
    rows = [[4 * cosine(f, w.detach()) for w in slot["weight"]] for f in features]
    expected = cross_entropy(torch.tensor(rows).double(), [t - 3 for t in batch.targets.tolist()])
    torch.testing.assert_close(loss_of(training, batch)["cross_entropy"].detach(), expected)
    assert slot["weight"].shape == (2, 32)


def test_masks_are_kept_in_any_form(tmp_path: Path) -> None:
    for storage in ("int8", "float16", "float32"):
        model = classifier(EASE(SoftMask((3, 4)), storage=storage), 2)  # type: ignore[arg-type]
        model.save_pretrained(tmp_path / storage)
        again = ContinualClassifier.from_pretrained(tmp_path / storage, backbone=tiny_backbone(), device="cpu")
        assert torch.equal(again.predict_proba(pictures(3)), model.predict_proba(pictures(3)))


def test_a_finished_task_keeps_no_classifier() -> None:
    learner = learned(SPEC)
    assert all(not learner.extra_slots["cosine_head"].slot(task) for task in range(3))  # type: ignore[operator]
    assert learner.policies[0] == "none" and not learner.answer_depends_on_task

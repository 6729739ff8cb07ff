"""Laws 2, 4, 6, 7 for every learner, trained for three steps a task by the real training loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS, REPRESENTATIVES, LearnerCase, methods
from softtf.adaptations.quantised import QuantisedAdaptation
from softtf.adaptations.slots import TaskSlots
from softtf.backbones.feature_store import FeatureStore
from softtf.backbones.features import FixedQueries
from softtf.classifier import ContinualClassifier
from softtf.evaluation.evaluate import evaluate
from softtf.evaluation.test_data import TestData
from softtf.files.tensors import load_tensors, save_tensors
from softtf.inference import INFERENCES
from softtf.inference import predict as predicting
from softtf.inference.answers import gather_evidence
from softtf.inference.clock import Clock
from softtf.inference.policy import Policy
from softtf.inference.pooling import Pooling
from softtf.learners import ClosedFormLearner, Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.slm import SLMLearner
from softtf.network import SharedPass
from softtf.saving.learner import save_task
from softtf.saving.loading import load_learner
from softtf.training.closed_form import ClosedFormTraining
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining
from softtf.training.task import TaskTraining
from support.slow import each
from support.tiny import (
    CLASSES,
    TRAIN,
    assert_same,
    backbone_for,
    classifier,
    exact,
    held_out,
    inputs,
    learned,
    pictures,
    snapshot,
    task_data,
    train_task,
    trained,
    training_of,
)

IMAGES = {name: case for name, case in LEARNERS.items() if not case.texts}
learners = each("case", IMAGES, REPRESENTATIVES)
costly = each(
    "case",
    {name: case for name, case in methods().items() if name in IMAGES},
    ("block ridge", "Soft-TF, Feature ID", "DER++", "MBPA++"),
)
"""For the laws that take longest: each method once, and a third of the representatives in the quick tests."""


def all_logits(learner: Learner, x: Tensor, tasks: int) -> list[Tensor]:
    """Logits of each of the first `tasks` tasks' networks over those tasks' classes."""
    with torch.no_grad():
        shared = SharedPass(learner.network, x)
        features = [learner.network.top(shared.trunk, task=t) for t in range(tasks)]
        return [learner.network.heads(f, range(tasks)) for f in features]  # equal widths round equally


def task_answers(learner: Learner, x: Tensor) -> Tensor:
    """What each task's network answers, [tasks, n, classes seen]."""
    with torch.no_grad():
        trunk = SharedPass(learner.network, x).trunk
        return torch.stack([learner.logits(trunk, t) for t in range(learner.num_tasks)])


def per_sample_policies(learner: Learner) -> list[Policy]:
    joint = [Policy(name, answer="joint") for name in learner.inferences if INFERENCES[name].log_probabilities]
    return [*map(Policy, learner.policies), *joint, Policy("oracle")]


# --- Law 2: nothing learned before changes -------------------------------------------------------------------


@learners
def test_learning_changes_only_its_own_and_the_shared_parameters(case: LearnerCase) -> None:
    learner, classes = case.spec.new_learner(backbone_for(case.spec), 3), ClassTable()
    x = inputs(5, 4)
    for task in range(3):
        before = snapshot(learner)
        shared_may_change = task == 0 or case.trains_shared
        logits = [] if shared_may_change else all_logits(learner, x, task)
        sums = added(learner)
        train_task(learner, classes, task)
        after = snapshot(learner)
        assert_same({n: v for n, v in added(learner).items() if n in sums}, sums)
        free = "shared/" if shared_may_change else "shared/memory."
        kept = {n for n in before if not n.startswith(free)}
        assert_same({n: after[n] for n in kept}, {n: before[n] for n in kept})
        if not shared_may_change:
            for old, new in zip(logits, all_logits(learner, x, task), strict=True):
                assert torch.equal(old, new)
        elif task:
            changed = [n for n in before if n.startswith("shared/") and not torch.equal(before[n], after[n])]
            assert changed  # or the case should not say that it trains shared parameters


def added(learner: Learner) -> dict[str, Tensor]:
    """What each task has added to sums; heads that are solved from them may change."""
    return {
        f"{task}/{owner}.{name}": value.clone()
        for task, shares in enumerate(learner.shares.tasks)
        for owner, tensors in shares.items()
        for name, value in tensors.items()
    }


@learners
def test_training_moves_every_parameter_of_the_current_task(case: LearnerCase) -> None:
    learner, classes = case.spec.new_learner(backbone_for(case.spec), 3), ClassTable()
    train_task(learner, classes, 0)
    training = begin_training(learner, classes, task_data(1), "second", TRAIN)
    start = {n: p.detach().clone() for n, p in learner.trained_parameters().items()}
    own = {
        f"{name}.{'slots.1' if slots.retrained else 'task'}.{value}"
        for name, slots in learner.slot_modules().items()
        for value, numbers in slots.task_state_dict(1).items()
        if numbers.numel()
    }
    assert own <= start.keys()
    training.run_epoch()
    still = [n for n, p in learner.trained_parameters().items() if p.numel() and torch.equal(p, start[n])]
    assert not [n for n in still if not (isinstance(learner, ClosedFormLearner) and n.endswith("bias"))]


# --- Queries that were computed before ---------------------------------------------------------------------------


@costly
def test_where_nothing_is_augmented_learning_from_kept_queries_is_learning_from_fresh_ones(
    case: LearnerCase, tmp_path: Path
) -> None:
    """Whatever the learner reads them for; in memory, computed for the disk and read from it alike."""
    config = replace(TRAIN, epochs=2, augment=False)
    backbone = backbone_for(case.spec)
    store = FeatureStore(tmp_path, backbone.weights_hash(), lambda note: pytest.fail(note))
    ends = []
    for fixed, kept in ((False, None), (True, None), (True, store), (True, store)):
        learner = case.spec.new_learner(backbone_for(case.spec), 3)
        training = begin_training(learner, ClassTable(), task_data(0), "first", config, kept)
        if isinstance(training, GradientTraining):
            assert (training.queries is not None) == (learner.query_use != "none")
            training.queries = training.queries if fixed else None
        losses = [training.run_epoch().losses for _ in range(training.epochs)]
        training.finish()
        ends.append((losses, snapshot(learner)))
    for losses, end in ends[1:]:
        for ours, fresh in zip(losses, ends[0][0], strict=True):
            assert ours == pytest.approx(fresh, abs=1e-5)
        for name, value in end.items():
            torch.testing.assert_close(value, ends[0][1][name], rtol=0, atol=1e-5)
    for _, end in ends[2:]:
        assert_same(end, ends[1][1])
    own = learner.answers_by_features or "tii" in learner.task_inferences
    own = own or getattr(case.spec, "frozen_weight", 0) > 0
    reads = learner.query_use != "none" or own or learner.statistics
    before = isinstance(learner, SLMLearner)  # its keys are settled before a training's precision counts
    assert len(list(tmp_path.iterdir())) == bool(reads) + before


@learners
def test_scores_from_kept_queries_are_those_of_fresh_ones(case: LearnerCase) -> None:
    model = learned(case.spec)
    learner = model.learner
    loader = predicting.test_loader(task_data(1), learner.network.backbone, 5)
    with learner.computing_in(torch.float64):
        known = FixedQueries(learner.network.backbone, loader).get()
        fresh, kept = (
            gather_evidence(
                learner,
                [SharedPass(learner.network, x, query) for x, query in zip(loader.batches(), queries, strict=True)],
                learner.inferences,
                Clock(loader.device),
            )
            for queries in ([None] * len(loader), known.values.split(5))
        )
    assert torch.equal(kept.trunk.x, fresh.trunk.x)
    for name in learner.inferences:
        torch.testing.assert_close(kept.scores[name], fresh.scores[name], rtol=0, atol=1e-9)


# --- Law 4: an answer for a sample is its own -----------------------------------------------------------------


@learners
def test_scores_and_logits_do_not_depend_on_neighbours(case: LearnerCase) -> None:
    learner = learned(case.spec).learner
    x = inputs(6, 2)
    order = torch.tensor([4, 0, 5, 2, 2, 1, 3])

    def everything(batch: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            shared = SharedPass(learner.network, batch)
            found = {name: INFERENCES[name]().scores(learner, shared) for name in learner.inferences}
            found |= {f"logits {t}": learner.logits(shared.trunk, t) for t in range(3)}
            return found | {"query": shared.query}

    with learner.computing_in(torch.float64):
        whole, shuffled = everything(x), everything(x[order])
        alone = [everything(x[i : i + 1]) for i in range(6)]
    for name, values in whole.items():
        torch.testing.assert_close(shuffled[name], values[order], rtol=0, atol=1e-9)
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), values, rtol=0, atol=1e-9)


@costly
def test_predictions_do_not_depend_on_batch_size_order_or_neighbours(case: LearnerCase) -> None:
    """In the precision that users have."""
    model = learned(case.spec)
    model.dtype = torch.float32
    model.learner.float()
    images = pictures(13, 5)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(1)).tolist()

    def answers(rows: list[int], **options: Any) -> list[tuple[Any, int]]:
        described = model.named(model.answer(images[rows], **options))
        return [(label, task) for label, _, task in described]

    for name in model.learner.policies:
        labels, tasks = model.predict(images, inference=name), model.predict_task(images, inference=name, batch_size=4)
        found = list(zip(labels, tasks, strict=True))
        assert answers(list(range(13)), inference=name, batch_size=1) == found
        assert answers(order, inference=name, batch_size=5) == [found[i] for i in order]
        assert answers([7], inference=name) == found[7:8]
    assert len(set(labels)) > 1


@costly
def test_per_sample_counts_do_not_depend_on_batch_size_or_shuffling(case: LearnerCase) -> None:
    model = learned(case.spec)
    learner, columns = model.learner, model.classes.column_labels()
    policies = per_sample_policies(learner)
    sets = held_out([0, 1, 2])

    def counts(batch_size: int, shuffle_seed: int | None, chosen: list[Policy]) -> dict[Policy, object]:
        data = TestData.of(sets, model.classes, learner.network.backbone, batch_size)
        scores = evaluate(
            learner, data, columns, chosen, batch_size=batch_size, dtype=torch.float64, shuffle_seed=shuffle_seed
        )
        return {p: (s.correct, s.task_correct, s.total) for p, s in scores.items()}

    expected = counts(120, None, policies)
    for batch_size, shuffle_seed in ((1, None), (5, None), (5, 0), (120, 1)):
        assert counts(batch_size, shuffle_seed, policies) == expected
    pooled = [Policy(p.inference, Pooling(4)) for p in policies if INFERENCES[p.inference].pools]
    mixed = counts(7, None, [*pooled, *policies])
    assert {p: mixed[p] for p in policies} == expected
    assert all(total == [3 * c for c in CLASSES] for _, _, total in expected.values())


@learners
def test_evaluate_counts_what_predict_answers(case: LearnerCase) -> None:
    model = learned(case.spec)
    sets = held_out([0, 1, 2])
    for name in model.learner.policies:
        (score, oracle) = model.evaluate(sets, [name, "oracle"]).values()
        right = [p == label for s in sets for p, label in zip(model.predict(s, inference=name), s.labels, strict=True)]
        tasks = [p == t for t, s in enumerate(sets) for p in model.predict_task(s, inference=name)]
        given = [
            p == label for t, s in enumerate(sets) for p, label in zip(model.predict(s, task=t), s.labels, strict=True)
        ]
        assert score["pooled"] == pytest.approx(100 * sum(right) / len(right))
        assert score["task_identity"] == pytest.approx(100 * sum(tasks) / len(tasks))
        assert oracle["pooled"] == pytest.approx(100 * sum(given) / len(given))
        assert oracle["task_identity"] == 100


# --- Law 6: saving is exact ------------------------------------------------------------------------------------


@learners
def test_saved_and_loaded_is_the_same_bit_for_bit(case: LearnerCase, tmp_path: Path) -> None:
    """And loading opens no slot and copies no task: the forms of what is saved are found without values."""
    model = trained(case.spec)
    model.save_pretrained(tmp_path / "saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskSlots, "add_task", lambda *_: pytest.fail("a slot was opened"))
        patch.setattr(QuantisedAdaptation, "matrix", lambda *_: pytest.fail("a task's matrix was made"))
        again = ContinualClassifier.from_pretrained(
            tmp_path / "saved", backbone=backbone_for(case.spec), device="cpu", inference=model.inference.code
        )
    images, x = pictures(7, 6), inputs(7, 6)
    assert_same(snapshot(again.learner), snapshot(model.learner))
    assert torch.equal(again.predict_proba(images), model.predict_proba(images))
    assert torch.equal(task_answers(again.learner, x), task_answers(model.learner, x))
    assert again.labels == model.labels and [type(a) for a in again.labels] == [type(a) for a in model.labels]
    assert again.header == model.header and again.classes.names == model.classes.names


@costly
def test_a_learner_saved_task_by_task_loads_as_it_was_after_each_and_learns_on(
    case: LearnerCase, tmp_path: Path
) -> None:
    model = ContinualClassifier(backbone_for(case.spec), case.spec, training_of(case.spec), device="cpu", seed=3)
    model.header.write(tmp_path)
    then, answers, images = [], [], pictures(5, 6)
    for task in range(3):
        model.learn(task_data(task), progress=False)
        save_task(tmp_path, model.learner, model.classes, task)
        then.append(snapshot(model.learner))
        answers.append(model.predict_proba(images))
    for tasks in (1, 2, 3):
        again = ContinualClassifier.from_pretrained(
            tmp_path, backbone=backbone_for(case.spec), tasks=tasks, device="cpu"
        )
        assert_same(snapshot(again.learner), then[tasks - 1])
        assert torch.equal(again.predict_proba(images), answers[tasks - 1])
        for task in range(tasks, 3):
            again.learn(task_data(task), progress=False)
        assert_same(snapshot(again.learner), then[-1])
    _, empty, table = load_learner(tmp_path, lambda _: backbone_for(case.spec), tasks=0)
    assert empty.num_tasks == 0 and table.labels == []


@costly
def test_training_resumed_between_epochs_ends_bit_for_bit_the_same(case: LearnerCase, tmp_path: Path) -> None:
    config = TrainConfig(4, 8, 1.6, "cosine", precision="float32")

    def begun() -> tuple[Learner, TaskTraining]:
        learner, classes = case.spec.new_learner(backbone_for(case.spec), 3), ClassTable()
        train_task(learner, classes, 0)
        return learner, begin_training(learner, classes, task_data(1), "second", config)

    whole, training = begun()
    while not training.finished:
        training.run_epoch()
    training.finish()
    _, killed = begun()
    half = -(-killed.epochs // 2)
    for _ in range(half):
        killed.run_epoch()
    save_tensors(tmp_path / "state", killed.state())
    resumed, training = begun()
    training.load_state(load_tensors(tmp_path / "state"))
    assert training.epoch == (0 if isinstance(training, ClosedFormTraining) else half)  # which is solved again
    while not training.finished:
        training.run_epoch()
    training.finish()
    assert_same(snapshot(resumed), snapshot(whole))


# --- Law 7: the backbone is never written to --------------------------------------------------------------------


@costly
def test_the_backbone_is_never_written_to(case: LearnerCase) -> None:
    backbone = backbone_for(case.spec)
    before = backbone.weights_hash()
    model = exact(classifier(case.spec, 2, backbone))
    model.predict(pictures(3))
    for name in model.learner.inferences:
        model.predict(pictures(3), inference=name)
    model.evaluate(held_out([0, 1]))
    assert backbone.weights_hash() == before and model.frozen_backbone_unchanged
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    backbone.linear(2, backbone.weight_names[0]).weight[5, 5] += 1e-9
    assert backbone.weights_hash() != before and not model.frozen_backbone_unchanged

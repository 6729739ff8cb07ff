"""IDBR: halves of texts, its loss written out, and its exemplars."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.learners import IDBR
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.idbr import IDBRLearner
from softtf.memory import most_central, separate
from softtf.recipes.recipes import recipe_named
from softtf.streams.split_texts import halves
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support import tiny
from support.tiny import generator, noise
from support.tiny_bert import text_task, tiny_bert
from support.tracing import Traced
from support.tuned import PLAIN, cross_entropy, loss_of, whole_batch

PAD = -1
SPEC = IDBR(share=0.25, replay_every=3, code=5, next_sentence=0.7, which_task=0.6, general=0.4, specific=0.9, hold=0.3)


def in_task(spec: IDBR, task: int, per_class: int = 4) -> TaskTraining:
    """The training of task `task` (from 0) in float64, its parameters moved by noise from where they start."""
    learner, classes = spec.build(tiny_bert(), 3), ClassTable()
    for earlier in range(task):
        training = begin_training(learner, classes, text_task(earlier), f"task {earlier}", PLAIN)
        training.run_epoch()
        training.finish()
    learner.double()
    with learner.computing_in(torch.float64):
        training = begin_training(learner, classes, text_task(task, per_class), "newest", PLAIN)
    learner.double()
    with torch.no_grad():
        for i, parameter in enumerate(training.parameters.values()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(i), dtype=torch.float64))
    return training


def slow_codes(learner: IDBRLearner, ids: Tensor) -> tuple[Tensor, Tensor]:
    """g and s of texts, each run alone and without padding through a copy of the backbone that holds W + D."""
    backbone = copy.deepcopy(learner.network.backbone)
    (tuned,) = learner.network.adaptations
    for block in range(backbone.depth):
        for name in backbone.weight_names:
            linear = backbone.linear(block, name)
            changed = linear.weight + tuned.changes[f"layer{block + 1:02d}_{name}"]
            del linear.weight
            linear.weight = changed
    rows = [row[row != PAD][None] for row in ids]
    features = torch.cat([backbone.pool(backbone.run(backbone.embed(row), 0, backbone.depth)) for row in rows])
    codes = torch.tanh(features @ learner.codes.weight.T + learner.codes.bias)
    return codes[:, :5], codes[:, 5:]


def test_a_replay_costs_as_much_with_many_exemplars_as_with_few() -> None:
    def cost(share: float) -> int:
        training = in_task(replace(SPEC, share=share), 1)
        learner = training.learner
        assert isinstance(learner, IDBRLearner)
        with Traced() as traced, torch.no_grad():
            learner._with_exemplars(whole_batch(training, [0, 1]), generator(0))
        return traced.operations

    assert cost(1.0) == cost(0.25)


# --- Halves ---


def test_halves_are_in_order_or_swapped_between_marks_and_no_batch_grows() -> None:
    longest = torch.tensor([1, 11, 12, 13, 14, 15, 16, 2])
    shorter = torch.tensor([1, 21, 22, 2, PAD, PAD, PAD, PAD])
    texts = torch.stack([longest, shorter, torch.tensor([1, 31, 2] + 5 * [PAD]), torch.tensor([1, 2] + 6 * [PAD])])
    seen = set()
    for seed in range(40):
        for swap in (False, True):
            found = halves(texts, generator(seed), swap)
            assert found.shape[1] <= 8
            for row, words in zip(found.tolist(), ([11, 12, 13, 14, 15], [21, 22], [31], []), strict=True):
                text = [i for i in row if i != PAD]
                assert row == text + [PAD] * (len(row) - len(text))  # padding comes last
                assert text[0] == 1 and text[-1] == 2 and text.count(2) == 2
                middle = text.index(2)
                first, second = text[1:middle], text[middle + 1 : -1]
                assert (second + first if swap else first + second) == words
                if len(words) > 1:
                    assert first and second
                if len(words) == 5:
                    seen.add((swap, len(first)))
    assert seen == {(swap, cut) for swap in (False, True) for cut in (1, 2, 3, 4)}


# --- The loss ---


def losses_by_hand(training: TaskTraining, step: int, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> dict:
    """The loss's terms of one step, from the halves that it drew."""
    learner, batch = training.learner, whole_batch(training, rows)
    drawn: list[Tensor] = []

    def watched(texts: Tensor, draw: torch.Generator, swap: bool) -> Tensor:
        drawn.extend([texts, halves(texts, draw, swap)])
        return drawn[-1]

    monkeypatch.setattr("softtf.learners.idbr.halves", watched)
    found = loss_of(training, Batch(batch.inputs, batch.targets, batch.rows, step=step))
    whole, straight, _, swapped = drawn
    columns, texts = learner.memory.get("exemplars.columns", []), separate("exemplars", learner.memory)
    targets = batch.targets.tolist()
    for row in whole[len(targets) :]:
        text = row[row != PAD]
        targets.append(int(columns[next(i for i, t in enumerate(texts) if t.tolist() == text.tolist())]))
    (g1, s1), (g2, s2) = slow_codes(learner, straight), slow_codes(learner, swapped)
    general, specific = torch.cat([g1, g2]), torch.cat([s1, s2])
    heads = [learner.network.heads.slot(t) for t in range(learner.num_tasks)]
    logits = torch.cat([torch.cat([general, specific], 1) @ h["weight"].T + h["bias"] for h in heads], 1)
    order = general @ learner.codes.order_weight.T + learner.codes.order_bias
    n = len(targets)
    expected = {
        "cross_entropy": cross_entropy(logits, targets * 2),
        "next_sentence": 0.7 * cross_entropy(order, [0] * n + [1] * n),
    }
    return {
        "found": found,
        "expected": expected,
        "straight": (g1, s1),
        "specific": specific,
        "targets": targets,
        "whole": whole,
    }


def test_the_first_task_has_classes_and_next_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    training = in_task(SPEC, 0)
    made = losses_by_hand(training, 2, [0, 3, 5], monkeypatch)
    assert made["found"].keys() == made["expected"].keys()
    for name, value in made["expected"].items():
        torch.testing.assert_close(made["found"][name], value)


@pytest.mark.parametrize(("step", "weight"), [(3, 0.3), (5, 5.0)])
def test_later_tasks_hold_both_codes_and_now_and_then_replay_every_task(
    step: int, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = in_task(SPEC, 2)
    learner, replays, rows = training.learner, step == 5, [0, 3, 5]
    held = copy.deepcopy(learner)
    with torch.no_grad():
        for i, parameter in enumerate(dict(held.trained_parameters()).values()):
            parameter.sub_(0.05 * torch.randn(parameter.shape, generator=generator(i), dtype=torch.float64))
    made = losses_by_hand(training, step, rows, monkeypatch)
    targets, (g, s) = made["targets"], made["straight"]
    tasks = [0 if t < 3 else 1 if t < 5 else 2 for t in targets]
    assert tasks[:3] == [2, 2, 2] and set(tasks[3:]) == ({0, 1} if replays else set())
    g_before, s_before = (codes.detach() for codes in slow_codes(held, made["whole"]))
    expected = made["expected"] | {
        "hold": weight * (0.4 * (g - g_before).square().mean() + 0.9 * (s - s_before).square().mean()),
        "which_task": torch.zeros((), dtype=torch.float64),
    }
    if replays:
        which = [learner.extra_slots["which_task"].slot(t) for t in range(3)]
        logits = torch.cat([made["specific"] @ h["weight"].T + h["bias"] for h in which], 1)
        expected["which_task"] = 0.6 * cross_entropy(logits, tasks * 2)
    assert made["found"].keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(made["found"][name], value, msg=lambda text, name=name: f"{name}: {text}")
    parameters = list(training.parameters.values())
    total, slow = (torch.stack(list(terms.values())).sum() for terms in (made["found"], expected))
    for a, b in zip(*(torch.autograd.grad(t, parameters, allow_unused=True) for t in (total, slow)), strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


# --- Training ---


def test_full_scale_trains_as_published_and_the_tasks_classifier_at_its_own_rate() -> None:
    """AdamW at 3e-5 and 5e-4 with decay 0.01, warmed up in 1,000 steps of 8 texts, nothing clipped (SALT-NLP/IDBR)."""
    recipe = recipe_named("text-order-4", "idbr")
    config, learner = recipe.train, recipe.learner.build(tiny_bert(), 3)
    training = begin_training(learner, ClassTable(), text_task(0), "first", replace(config, precision="float32"))
    rates = {}
    for group in training.optimizer.param_groups:
        assert isinstance(training.optimizer, torch.optim.AdamW) and group["weight_decay"] == 0.01
        rates |= {n: group["lr"] for n, p in training.parameters.items() if any(p is q for q in group["params"])}
    assert rates.keys() == training.parameters.keys()
    for name, rate in rates.items():
        assert rate == pytest.approx(5e-4 if name.startswith("which_task.") else 3e-5)
    assert (config.batch_size, config.clip_norm, config.schedule) == (8, None, "constant")
    assert [config.share_of_rate(step, 9000) for step in (0, 500, 1000, 8999)] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("task", [0, 1])
def test_a_resumed_training_ends_the_same(task: int) -> None:
    config = TrainConfig(3, 4, 0.1, "linear", None, precision="float32", optimizer="adamw", weight_decay=0.1, warmup=3)

    def fresh() -> TaskTraining:
        learner, classes = SPEC.build(tiny_bert(), 3), ClassTable()
        for earlier in range(task):
            training = begin_training(learner, classes, text_task(earlier), f"task {earlier}", config)
            while not training.finished:
                training.run_epoch()
            training.finish()
        return begin_training(learner, classes, text_task(task), "newest", config)

    whole, half, resumed = fresh(), fresh(), fresh()
    while not whole.finished:
        whole.run_epoch()
    half.run_epoch()
    resumed.load_state({name: value.clone() for name, value in half.state().items()})
    while not resumed.finished:
        resumed.run_epoch()
    assert all(torch.equal(p, whole.parameters[n]) for n, p in resumed.parameters.items())


# --- Exemplars ---


def test_of_each_cluster_the_member_nearest_to_its_centre_is_kept() -> None:
    heaps = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]).repeat_interleave(7, 0)
    points = heaps + 0.5 * noise(21, 2)
    found = most_central(points, 3, 4).tolist()
    assert sorted(i // 7 for i in found) == [0, 1, 2]
    for i in found:
        heap = points[i // 7 * 7 : i // 7 * 7 + 7]
        distances = (heap - heap.mean(0)).norm(dim=1)
        assert int(distances.argmin()) == i % 7
    assert sorted(most_central(points[:4], 9, 4).tolist()) == [0, 1, 2, 3]


def test_a_share_of_each_task_is_kept_and_stays() -> None:
    training = in_task(SPEC, 1)
    learner, first = training.learner, dict(training.learner.memory)
    assert len(first["exemplars.columns"]) == 3  # a quarter of 12
    with learner.computing_in(torch.float64):
        learner.choose_exemplars(training.loader)
    columns, kept = learner.memory["exemplars.columns"], separate("exemplars", learner.memory)
    assert torch.equal(columns[:3], first["exemplars.columns"]) and set(columns[3:].tolist()) <= {3, 4}
    assert len(columns) == len(kept) == 3 + 2
    for old, now in zip(separate("exemplars", first), kept, strict=False):
        assert torch.equal(old, now)
    of_task = training.loader.loaded(range(8))
    assert all(any(k.tolist() == t.tolist() for t in of_task) for k in kept[3:])


def test_it_is_for_texts() -> None:
    with pytest.raises(UserError, match="'tiny' reads no texts"):
        IDBR().new_learner(tiny.tiny_backbone(), 0)
    with pytest.raises(UserError, match="share"):
        IDBR(share=0)
    for rate in (0.0, float("inf")):
        with pytest.raises(UserError, match="task_rate must be above 0 and finite"):
            IDBR(task_rate=rate)

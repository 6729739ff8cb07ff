"""L2P against the reference network: its loss, each task's answers, Gradient ID, and what choices depend on."""

from typing import Any

import pytest
import torch
from torch import Tensor

from learners.test_dual_prompt import batch_of, in_training, normalised
from references.vit import layer, vit_forward
from softtf.adaptations import SoftMask
from softtf.errors import UserError
from softtf.inference import INFERENCES
from softtf.inference.entropy_gradient import largest_entropy
from softtf.learners import L2P, Learner
from softtf.learners.class_table import ClassTable
from softtf.network import SharedPass
from support.tiny import CLASSES, inputs, learned, mask_values, noise, pictures, tiny_backbone, train_task

PLAIN = L2P(6, 2, 3, key_weight=0.7)
MASKED = L2P(6, 2, 3, key_weight=0.7, adapt=SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)"), storage="float32")
specs = pytest.mark.parametrize("spec", [PLAIN, MASKED], ids=["plain", "with masks"])


def varied(learner: Learner, x: Tensor) -> Learner:
    """The learner with the pool's keys turned away from what all queries have in common, so that choices differ."""
    with torch.no_grad(), learner.computing_in(torch.float64):
        common = SharedPass(learner.network, x).query.mean(0)
        common /= common.norm()
        keys = learner.pool.keys
        keys.copy_(noise(*keys.shape, seed=8))
        keys.sub_(keys @ common[:, None] * common)
    return learner


def reference(learner: Learner, x: Tensor, task: int) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Task `task`'s features, the queries, and each sample's prompts, by the slow forward."""
    vit, pool = learner.network.backbone.vit, learner.pool
    query = vit_forward(vit, normalised(x))[0]
    chosen = []
    for q in query:
        cosines = [float(q @ k / (q.norm() * k.norm())) for k in pool.keys.detach()]
        chosen.append(sorted(sorted(range(len(cosines)), key=lambda i: -cosines[i])[: pool.top_k]))
    prompts = torch.stack([torch.cat([pool.prompts[j] for j in row]) for row in chosen])
    slots = learner.slot_modules().get("SoftMasks")
    masks = mask_values(slots.slot(task)) if slots else {}
    weights = {key: layer(vit, *key).weight * mask for key, mask in masks.items()}
    return vit_forward(vit, normalised(x), weights=weights, prepended=prompts)[0], query, chosen


@specs
def test_the_loss_is_cross_entropy_and_the_distance_of_the_chosen_keys(spec: L2P) -> None:
    x, targets = inputs(5, 1), torch.tensor([0, 3, 1, 2, 3])
    learner = varied(in_training(spec), x)
    with learner.computing_in(torch.float64):
        losses = learner.loss(batch_of(learner, x, targets))
    features, query, chosen = reference(learner, x, 2)
    slot, keys = learner.network.heads.slot(2), learner.pool.keys
    logits = features @ slot["weight"].T + slot["bias"]
    expected = {"cross_entropy": 0.0, "matching": 0.0}
    if spec is MASKED:
        expected["task_matching"] = 0.0
    for i, target in enumerate(targets.tolist()):
        expected["cross_entropy"] -= torch.log(logits[i].exp()[target] / logits[i].exp().sum()) / 5
        for j in chosen[i]:
            expected["matching"] += 0.7 * (1 - query[i] @ keys[j] / (query[i].norm() * keys[j].norm())) / 5
        if spec is MASKED:
            own = learner.extra_slots["task_keys"].slot(2)["key"]
            expected["task_matching"] += 0.7 * (1 - query[i] @ own / (query[i].norm() * own.norm())) / 5
    assert losses.keys() == expected.keys() and len(set(map(tuple, chosen))) > 1
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    ours = learner.trained_parameters()
    with learner.computing_in(torch.float64):
        sum(learner.loss(batch_of(learner, x, targets)).values()).backward()
    gradients = torch.autograd.grad(sum(expected.values()), list(ours.values()))
    for (name, parameter), gradient in zip(ours.items(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda text, name=name: f"{name}: {text}")


@specs
def test_each_tasks_network_is_the_references(spec: L2P) -> None:
    x = inputs(6, 2)
    learner = varied(learned(spec).learner, x)
    heads = [learner.network.heads.slot(t) for t in range(3)]
    for task in range(3):
        with torch.no_grad(), learner.computing_in(torch.float64):
            found = learner.logits(SharedPass(learner.network, x).trunk, task)
        features, _, _ = reference(learner, x, task)
        expected = torch.cat([features @ h["weight"].T + h["bias"] for h in heads], 1)
        torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-9)
        assert found.shape == (6, sum(CLASSES))


@pytest.mark.parametrize("options", [{"class_token": False, "global_pool": "avg"}, {"reg_tokens": 2, "pre_norm": True}])
def test_the_features_are_the_mean_at_the_prompts_whatever_else_the_model_has(options: dict[str, Any]) -> None:
    backbone = tiny_backbone(**options)
    learner = L2P(3, 2, 2).build(backbone, 0).double()
    learner.open_slots(2)
    learner.double()
    x = inputs(3, 1)
    with torch.no_grad(), learner.computing_in(torch.float64):
        shared = SharedPass(learner.network, x)
        found = learner.network.top(shared.trunk, task=0)
        tokens = torch.cat([learner.pool.prepended(shared.query), backbone.embed(x).x], 1)
        for block in backbone.vit.blocks:
            tokens = block(tokens)
        expected = backbone.vit.fc_norm(backbone.vit.norm(tokens)[:, :4].mean(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@specs
def test_a_sample_is_answered_alike_alone_and_in_any_batch_and_order(spec: L2P) -> None:
    x = inputs(8, 3)
    learner = varied(learned(spec).learner, x)
    order = torch.tensor([5, 0, 7, 7, 2, 1, 3, 6, 4])

    def answers(batch: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), learner.computing_in(torch.float64):
            shared = SharedPass(learner.network, batch)
            found = {name: INFERENCES[name]().scores(learner, shared) for name in learner.task_inferences}
            return found | {f"logits {t}": learner.logits(shared.trunk, t) for t in range(3)}

    assert len({tuple(row) for row in reference(learner, x, 0)[2]}) > 2
    whole, shuffled = answers(x), answers(x[order])
    alone = [answers(sample[None]) for sample in x]
    for name, values in whole.items():
        torch.testing.assert_close(shuffled[name], values[order], rtol=0, atol=1e-9)
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), values, rtol=0, atol=1e-9)


def test_plain_l2p_needs_no_task_and_answers_with_any_class_seen() -> None:
    model = learned(PLAIN)
    assert model.learner.task_inferences == () and not model.learner.extra_slots
    assert model.inference.inference == "none"
    answers = set(model.predict(pictures(40, 3)))
    columns = {model.labels.index(label) for label in answers}
    tasks = {0 if c < 3 else 1 if c < 5 else 2 for c in columns}
    assert len(tasks) > 1


def test_with_masks_tasks_have_networks_and_keys_of_their_own() -> None:
    learner, x = learned(MASKED).learner, inputs(4, 1)
    assert learner.task_inferences == ("prompt-id", "gradient-id", "gradient-id-full")
    with torch.no_grad(), learner.computing_in(torch.float64):
        shared = SharedPass(learner.network, x)
        found = INFERENCES["prompt-id"]().scores(learner, shared)
    for t in range(3):
        key = learner.extra_slots["task_keys"].slot(t)["key"]
        expected = shared.query @ key / (shared.query.norm(dim=1) * key.norm())
        torch.testing.assert_close(found[:, t], expected.detach())


def test_gradient_id_mixes_the_masks_behind_each_samples_own_prompts() -> None:
    """The slow loop: one sample, one alpha, one autograd call at a time."""
    x = inputs(5, 4)
    learner = varied(learned(MASKED).learner, x)
    vit, masks = learner.network.backbone.vit, learner.slot_modules()["SoftMasks"]
    with torch.no_grad(), learner.computing_in(torch.float64):
        found = INFERENCES["gradient-id"]().scores(learner, SharedPass(learner.network, x))
    _, _, chosen = reference(learner, x, 0)
    values = [{k: v.detach() for k, v in mask_values(masks.slot(t)).items()} for t in range(3)]
    head = torch.cat([learner.network.heads.slot(t)["weight"] for t in range(3)]).detach()
    bias = torch.cat([learner.network.heads.slot(t)["bias"] for t in range(3)]).detach()
    for i, indices in enumerate(chosen):
        alpha = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
        weights = {
            key: layer(vit, *key).weight * sum(a * mask[key] for a, mask in zip(alpha, values, strict=True))
            for key in values[0]
        }
        prompts = torch.cat([learner.pool.prompts[j] for j in indices]).detach()[None]
        feature = vit_forward(vit, normalised(x[i : i + 1]), weights=weights, prepended=prompts)[0]
        entropy = largest_entropy(feature @ head.T + bias, 3).sum()
        torch.testing.assert_close(found[i], -torch.autograd.grad(entropy, alpha)[0], rtol=1e-6, atol=1e-9)
    assert found.std(1).min() > 1e-4  # so the tasks differ


def test_prompts_that_no_sample_chose_stay_as_they_are() -> None:
    learner = L2P(6, 2, 1).build(tiny_backbone(), 3)
    start = learner.pool.prompts.detach().clone()
    train_task(learner, ClassTable(), 0)
    moved = (learner.pool.prompts.detach() != start).flatten(1).any(1)
    assert 0 < moved.sum() < 6
    assert (learner.pool.prompts.detach() != start).flatten(1).all(1)[moved].all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pool_size": 0}, "pool_size"),
        ({"length": 0}, "length"),
        ({"top_k": 0}, "top_k"),
        ({"pool_size": 4}, "top_k must be at most pool_size, 4, not 5"),
        ({"key_weight": -1.0}, "key_weight"),
        ({"key_scale": 0.0}, "key_scale"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        L2P(**settings)

"""DualPrompt's loss, written out on the reference network, and what its settings mean."""

import pytest
import torch
from torch import Tensor

from references.vit import layer, vit_forward
from softtf.adaptations import SoftMask
from softtf.errors import UserError
from softtf.learners import DualPrompt, Learner, LinearHead
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from support.tiny import (
    CLASSES,
    MEAN,
    STD,
    assert_same,
    inputs,
    learned,
    mask_values,
    snapshot,
    tiny_backbone,
    train_task,
)

SPEC = DualPrompt((1, 3), 2, (2, 3), 3, key_weight=0.7, adapt=SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)"))


def reference_features(learner: Learner, x: Tensor, task: int) -> Tensor:
    """Task `task`'s network by the slow forward."""
    modules, vit = learner.slot_modules(), learner.network.backbone.vit
    masks = mask_values(modules["SoftMasks"].slot(task))
    weights = {key: layer(vit, *key).weight * mask for key, mask in masks.items()}
    prefixes = {int(k[5:7]) - 1: v for k, v in modules["GeneralPrefix"].prompts.items()}
    for key, own in modules["ExpertPrefix"].slot(task).items():
        block = int(key[5:7]) - 1
        prefixes[block] = torch.cat([prefixes[block], own], 1) if block in prefixes else own
    return vit_forward(vit, normalised(x), weights=weights, prefixes=prefixes)[0]


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in (MEAN, STD))
    return (x - mean) / std


def in_training(spec: DualPrompt, tasks: int = 2) -> Learner:
    """A float64 learner whose newest task is being trained."""
    learner = learned(spec, tasks).learner
    learner.open_slots(CLASSES[tasks])
    learner.double()
    for parameter in learner.trained_parameters().values():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    return learner


def batch_of(learner: Learner, x: torch.Tensor, targets: torch.Tensor) -> Batch:
    first = learner.task_columns(learner.num_tasks - 1).start
    return Batch(x, targets + first, torch.arange(len(x)))


def test_the_loss_is_cross_entropy_over_its_own_classes_and_the_keys_distance() -> None:
    learner, x, targets = in_training(SPEC), inputs(5, 1), torch.tensor([0, 3, 1, 2, 3])
    with learner.computing_in(torch.float64):
        losses = learner.loss(batch_of(learner, x, targets))
    slot, key = learner.network.heads.slot(2), learner.keys.slot(2)["key"]
    logits = reference_features(learner, x, 2) @ slot["weight"].T + slot["bias"]
    query = vit_forward(learner.network.backbone.vit, normalised(x))[0]
    cross_entropy, matching = 0.0, 0.0
    for i, target in enumerate(targets.tolist()):
        cross_entropy = cross_entropy - torch.log(logits[i].exp()[target] / logits[i].exp().sum()) / 5
        matching = matching + (1 - query[i] @ key / (query[i].norm() * key.norm())) / 5
    assert losses.keys() == {"cross_entropy", "matching"}
    torch.testing.assert_close(losses["cross_entropy"], cross_entropy)
    torch.testing.assert_close(losses["matching"], 0.7 * matching)
    ours = learner.trained_parameters()
    with learner.computing_in(torch.float64):
        sum(learner.loss(batch_of(learner, x, targets)).values()).backward()
    expected = torch.autograd.grad(cross_entropy + 0.7 * matching, list(ours.values()))
    for (name, parameter), gradient in zip(ours.items(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("task", [0, 1, 2])
def test_each_tasks_network_is_the_references(task: int) -> None:
    learner, x = learned(SPEC).learner, inputs(4, 2)
    with torch.no_grad(), learner.computing_in(torch.float64):
        found = learner.logits(learner.network.trunk(learner.network.stem(x)), task)
    heads = [learner.network.heads.slot(t) for t in range(3)]
    features = reference_features(learner, x, task)
    expected = torch.cat([features @ h["weight"].T + h["bias"] for h in heads], 1)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-9)
    assert found.shape == (4, sum(CLASSES))
    assert learner.task_columns(task) == slice(sum(CLASSES[:task]), sum(CLASSES[: task + 1]))


def test_freezing_the_g_prompt_trains_it_in_the_first_task_only() -> None:
    spec = DualPrompt(e_layers=(3,), freeze_g_after_first=True)
    learner, table = spec.build(tiny_backbone(), 0), ClassTable()
    start = {n: v.clone() for n, v in learner.shared_state_dict().items()}
    assert start.keys() == {"GeneralPrefix.prompts.layer01_prefix", "GeneralPrefix.prompts.layer02_prefix"}
    train_task(learner, table, 0)
    first = {n: v.clone() for n, v in learner.shared_state_dict().items()}
    assert not any(torch.equal(first[n], start[n]) for n in start)
    train_task(learner, table, 1)
    assert_same(learner.shared_state_dict(), first)
    assert not any(n.startswith("GeneralPrefix") for n in learner.trained_parameters())


def test_a_second_tasks_slots_start_from_the_seed_and_the_previous_e_prompt() -> None:
    learner = learned(SPEC, 1).learner.float()
    learner.open_slots(2)
    modules = learner.slot_modules()
    for name, value in modules["ExpertPrefix"].slot(1).items():
        assert torch.equal(value, modules["ExpertPrefix"].slot(0)[name])
    again = learned(SPEC, 1).learner.float()
    again.open_slots(2)
    assert_same(snapshot(learner), snapshot(again))
    fresh = SPEC.build(tiny_backbone(), 0)
    for _ in range(2):
        fresh.open_slots(2)
    for module, name in (
        (fresh.keys, "key"),
        (fresh.network.heads, "weight"),
        (fresh.network.adaptations[2], "layer03_qkv"),
    ):
        assert not torch.equal(module.slot(0)[name], module.slot(1)[name])
    other = SPEC.build(tiny_backbone(), 99)
    other.open_slots(2)
    assert not torch.equal(other.keys.slot(0)["key"], learner.keys.slot(0)["key"])


def test_keys_start_at_their_scale() -> None:
    learner = DualPrompt(e_layers=(3,), key_scale=0.1).build(tiny_backbone(), 0)
    learner.open_slots(2)
    assert 0.07 < learner.keys.slot(0)["key"].abs().max() <= 0.1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"g_length": 0}, "g_length"),
        ({"e_length": -1}, "e_length"),
        ({"key_weight": -1.0}, "key_weight"),
        ({"key_weight": float("nan")}, "key_weight"),
        ({"key_scale": 0.0}, "key_scale"),
        ({"g_layers": "0"}, "g_layers"),
        ({"e_layers": "3-1"}, "e_layers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        DualPrompt(**settings)


@pytest.mark.parametrize("settings", [{"e_layers": (5,)}, {"g_layers": (1, 12), "e_layers": (3,)}])
def test_layers_that_the_backbone_lacks_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=r"[eg]_layers: there is no layer .* layers 1 to 4"):
        DualPrompt(**settings).build(tiny_backbone(), 0)


def test_a_linear_heads_loss_is_cross_entropy_on_frozen_features() -> None:
    learner, x, targets = learned(LinearHead(), 1).learner, inputs(4, 1), torch.tensor([1, 0, 1, 1])
    learner.open_slots(2)
    learner.double()
    with learner.computing_in(torch.float64):
        losses = learner.loss(batch_of(learner, x, targets))
    slot = learner.network.heads.slot(1)
    logits = vit_forward(learner.network.backbone.vit, normalised(x))[0] @ slot["weight"].T + slot["bias"]
    torch.testing.assert_close(losses["cross_entropy"], torch.nn.functional.cross_entropy(logits, targets))
    assert losses.keys() == {"cross_entropy"} and learner.task_inferences == ()

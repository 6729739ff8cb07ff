"""The references themselves: against timm's own forward, the formulas' limits, and finite differences."""

from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from . import metrics
from .gradient_id import gradient_id_scores, mixture_entropy
from .vit import NAMES, layer, vit_forward


def tiny_vit(**overrides: Any) -> VisionTransformer:
    torch.manual_seed(0)
    config = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 32, "num_heads": 2, "num_classes": 0}
    model = timm.create_model("vit_tiny_patch16_224", **(config | overrides)).double().eval()
    for parameter in model.parameters():  # timm's zero biases and unit norms would hide one that is forgotten
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.2)
    return model.requires_grad_(False)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of float64."""
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("overrides", [{}, {"init_values": 0.5}, {"pre_norm": True}, {"num_heads": 8}])
def test_forward_equals_timm(overrides: dict[str, Any]) -> None:
    model, images = tiny_vit(**overrides), random(3, 3, 32, 32, seed=1)
    features, tokens = vit_forward(model, images)
    assert_equal(tokens, model.forward_features(images))
    assert_equal(features, model(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_replaced_weight_equals_timm_with_that_weight_written_in(name: str) -> None:
    model, images = tiny_vit(), random(2, 3, 32, 32, seed=1)
    weight = layer(model, 2, name).weight * (1 + 0.3 * random(*layer(model, 2, name).weight.shape, seed=2))
    before = model(images)
    features, _ = vit_forward(model, images, weights={(2, name): weight})
    assert torch.equal(model(images), before)
    layer(model, 2, name).weight.copy_(weight)
    assert_equal(features, model(images))
    assert not torch.allclose(features, before, atol=1e-3)


def test_a_prefix_that_repeats_the_blocks_own_keys_and_values_changes_nothing() -> None:
    """Each softmax weight is halved and counted twice."""
    model, images = tiny_vit(), random(3, 3, 32, 32, seed=1)
    x = model.patch_embed(images)
    x = model.blocks[:2](torch.cat([model.cls_token.expand(3, -1, -1), x], dim=1) + model.pos_embed)
    _, key, value = model.blocks[2].attn.qkv(model.blocks[2].norm1(x)).chunk(3, dim=2)
    prefix = torch.stack([key, value], dim=1)
    assert_equal(vit_forward(model, images, prefixes={2: prefix})[0], model(images))
    wrong_sample = vit_forward(model, images, prefixes={2: prefix.roll(1, 0)})[0]
    assert not torch.allclose(wrong_sample, model(images), atol=1e-3)
    swapped = vit_forward(model, images, prefixes={2: prefix.flip(1)})[0]
    assert not torch.allclose(swapped, model(images), atol=1e-3)


@pytest.mark.parametrize("name", ["proj", "fc1", "fc2"])
def test_an_adapter_equals_timm_with_a_module_hooked_on(name: str) -> None:
    model, images = tiny_vit(), random(2, 3, 32, 32, seed=1)
    width = layer(model, 2, name).out_features
    bottleneck = nn.Sequential(nn.Linear(width, 3), nn.GELU(), nn.Linear(3, width)).double().requires_grad_(False)
    adapter = (bottleneck[0].weight, bottleneck[0].bias, bottleneck[2].weight, bottleneck[2].bias)
    before = model(images)
    features, _ = vit_forward(model, images, adapters={(2, name): adapter})
    layer(model, 2, name).register_forward_hook(lambda module, inputs, out: out + bottleneck(out))
    assert_equal(features, model(images))
    assert not torch.allclose(features, before, atol=1e-3)


def test_one_prefix_for_all_equals_the_same_prefix_for_each() -> None:
    model, images, prefix = tiny_vit(), random(2, 3, 32, 32, seed=1), random(2, 5, 32, seed=2)
    shared = vit_forward(model, images, prefixes={1: prefix})[0]
    assert torch.equal(shared, vit_forward(model, images, prefixes={1: prefix.expand(2, -1, -1, -1)})[0])
    assert torch.equal(shared[1:], vit_forward(model, images[1:], prefixes={1: prefix})[0])


def identification(tasks: int) -> dict[str, Any]:
    """Masks, prefixes and a head for tasks of three classes, on the two last blocks of the tiny ViT."""
    sizes = {"qkv": (96, 32), "proj": (32, 32), "fc1": (128, 32), "fc2": (32, 128)}
    keys = [(block, name) for block in (2, 3) for name in NAMES]
    masks = [
        {key: 1 + 0.5 * random(*sizes[key[1]], seed=100 * j + n) for n, key in enumerate(keys)} for j in range(tasks)
    ]
    return {
        "masks": masks,
        "prefixes": [{2: random(2, 3, 32, seed=50 + j)} for j in range(tasks)],
        "head": (random(3 * tasks, 32, seed=7), random(3 * tasks, seed=8)),
        "shared_prefixes": {0: random(2, 2, 32, seed=9), 2: random(2, 2, 32, seed=10)},
        "top_entries": 3,
        "adapters": [
            {(1, "proj"): bottleneck(32, 60 + 10 * j), (3, "fc1"): bottleneck(128, 65 + 10 * j)} for j in range(tasks)
        ],
    }


def bottleneck(width: int, seed: int) -> tuple[Tensor, ...]:
    """Down, its bias, up, its bias."""
    shapes = ((3, width), (3,), (width, 3), (width,))
    return tuple(0.3 * random(*shape, seed=seed + i) for i, shape in enumerate(shapes))


def test_gradient_id_equals_finite_differences() -> None:
    model, images, setup, step = tiny_vit(), random(2, 3, 32, 32, seed=1), identification(3), 1e-5
    scores = gradient_id_scores(model, images, **setup)
    for b in range(2):
        for j in range(3):
            shift = step * torch.eye(3, dtype=torch.float64)[j]
            uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
            above = mixture_entropy(model, images[b], uniform + shift, **setup)
            below = mixture_entropy(model, images[b], uniform - shift, **setup)
            torch.testing.assert_close(scores[b, j], -(above - below) / (2 * step), rtol=1e-6, atol=1e-8)
    assert scores.abs().min() > 1e-4  # so the comparison above was not of zeros


def test_a_one_hot_mixture_is_that_tasks_own_network() -> None:
    model, images, setup = tiny_vit(), random(1, 3, 32, 32, seed=1), identification(2)
    entropy = mixture_entropy(model, images[0], torch.tensor([0.0, 1.0], dtype=torch.float64), **setup)
    weights = {key: layer(model, *key).weight * mask for key, mask in setup["masks"][1].items()}
    shared = setup["shared_prefixes"]
    prefixes = {0: shared[0], 2: torch.cat([shared[2], setup["prefixes"][1][2]], dim=1)}
    adapters = setup["adapters"][1]
    feature = vit_forward(model, images, weights=weights, prefixes=prefixes, adapters=adapters)[0][0]
    p = torch.softmax((setup["head"][0] @ feature + setup["head"][1]).sort(descending=True).values[:3], dim=0)
    assert_equal(entropy, -(p * p.log()).sum())


def test_equal_tasks_get_equal_scores_and_scores_follow_the_order_of_tasks() -> None:
    model, images, setup = tiny_vit(), random(2, 3, 32, 32, seed=1), identification(3)
    scores = gradient_id_scores(model, images, **setup)
    order = [2, 0, 1]
    shuffled = setup | {name: [setup[name][j] for j in order] for name in ("masks", "prefixes", "adapters")}
    assert_equal(gradient_id_scores(model, images, **shuffled), scores[:, order])
    twins = setup | {name: [setup[name][0]] * 2 for name in ("masks", "prefixes", "adapters")}
    first, second = gradient_id_scores(model, images, **twins).unbind(1)
    assert_equal(first, second)


def test_metrics_by_hand() -> None:
    nan = float("nan")  # never read: the task was not yet learned
    a = [[0.9, 0.95, 0.8], [nan, 0.7, 0.75], [nan, nan, 0.6]]
    assert metrics.average_accuracy(a) == pytest.approx((0.8 + 0.75 + 0.6) / 3)
    assert metrics.forgetting(a) == pytest.approx((0.15 + 0.0) / 2)
    assert metrics.backward_transfer(a) == pytest.approx((-0.1 + 0.05) / 2)
    assert metrics.average_incremental_accuracy(a) == pytest.approx((0.9 + 0.825 + 2.15 / 3) / 3)

"""TimmViT is timm's own forward; and with weights and prefixes put in, the reference's."""

from typing import Any

import pytest
import timm
import torch
from timm.layers import RmsNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from references.vit import NAMES, layer, vit_forward
from softtf.backbones.base import BlockEdit, Tokens
from softtf.backbones.mixed_linear import MixedWeight
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from support.tiny import MEAN, STD, inputs, noise, tiny_backbone, tiny_vit

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer scale": {"init_values": 0.5},
    "average": {"class_token": False, "global_pool": "avg"},
    "average beside a class token": {"global_pool": "avg"},
    "qk norm": {"qk_norm": True},
    "registers": {"reg_tokens": 2},
    "registers without positions": {"reg_tokens": 2, "no_embed_class": True},
    "pre norm": {"pre_norm": True},
    "no biases": {"qkv_bias": False, "proj_bias": False},
    "fc norm": {"fc_norm": True},
    "no final norm": {"final_norm": False},
    "one head": {"num_heads": 1},
    "wide mlp, deep": {"mlp_ratio": 2.5, "depth": 6},
    "rectangle patches": {"patch_size": 4},
    "gelu tanh": {"act_layer": "gelu_tanh"},
    "norm eps": {"norm_layer": "layernorm"},
}


def features(backbone: TimmViT, x: Tensor) -> Tensor:
    return backbone.pool(backbone.run(backbone.embed(x), 0, backbone.depth))


def normalised(x: Tensor) -> Tensor:
    """By the very float32 numbers that the backbone holds."""
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in (MEAN, STD))
    return (x - mean) / std


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_equals_timms_own_forward(options: dict[str, Any]) -> None:
    backbone, x = tiny_backbone(**options), inputs(3, 1)
    own = backbone.vit.forward_head(backbone.vit.forward_features(normalised(x)), pre_logits=True)
    found = features(backbone, x)
    torch.testing.assert_close(found, own, rtol=0, atol=1e-9)
    assert found.shape == (3, backbone.dim) and found.std() > 0.01


def test_equals_timms_own_forward_in_float32() -> None:
    backbone, x = TimmViT(tiny_vit(), "tiny", MEAN, STD), inputs(3, 1).float()
    own = backbone.vit(normalised(x.double()).float())
    torch.testing.assert_close(features(backbone, x), own, rtol=0, atol=1e-4)
    assert features(backbone, x).dtype == torch.float32


@pytest.mark.parametrize("options", [{"norm_layer": RmsNorm}, {"norm_layer": RmsNorm, "qk_norm": True}])
def test_another_norm_is_refused_or_right(options: dict[str, Any]) -> None:
    try:
        backbone = tiny_backbone(**options)
    except UserError as error:
        assert "\n" not in str(error)
        return
    x = inputs(2, 1)
    torch.testing.assert_close(features(backbone, x), backbone.vit(normalised(x)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        lambda: timm.create_model("swin_tiny_patch4_window7_224"),
        lambda: timm.create_model("resnet18"),
        lambda: tiny_vit(global_pool="map"),
        lambda: tiny_vit(block_fn=timm.models.vision_transformer.ParallelScalingBlock),
        lambda: tiny_vit(scale_attn_norm=True),
        lambda: tiny_vit(scale_mlp_norm=True),
        lambda: tiny_vit(mlp_layer=timm.layers.SwiGLUPacked),
    ],
    ids=["swin", "resnet", "attention pool", "parallel", "attention norm", "mlp norm", "SwiGLU"],
)
def test_a_model_that_would_be_computed_wrongly_is_refused(build: Any) -> None:
    with torch.device("meta") if "timm.create" in str(build.__code__.co_names) else torch.device("cpu"):
        model = build()
    with pytest.raises(UserError, match="odd"):
        TimmViT(model, "odd", MEAN, STD)


def test_the_model_is_frozen_and_its_normalisation_is_the_one_given() -> None:
    vit = VisionTransformer(img_size=16, patch_size=8, depth=1, embed_dim=32, num_heads=2).train()
    backbone = TimmViT(vit, "tiny", MEAN, STD)
    assert not any(p.requires_grad for p in backbone.parameters()) and not vit.training
    assert backbone.preparation.size == 16 and (backbone.dim, backbone.depth) == (32, 1)


def test_linear_is_the_layer_of_that_name() -> None:
    backbone = tiny_backbone()
    for block in range(4):
        for name in NAMES:
            assert backbone.linear(block, name) is layer(backbone.vit, block, name)
    assert backbone.weight_names == NAMES


def edited(backbone: TimmViT, x: Tensor, weights: dict, prefixes: dict) -> Tensor:
    tokens = backbone.embed(x)
    for block in range(backbone.depth):
        own = {name: w for (b, name), w in weights.items() if b == block}
        prefix = prefixes.get(block)
        prefix = prefix[None] if prefix is not None and prefix.ndim == 3 else prefix
        tokens = backbone.block(block, tokens, BlockEdit(own, prefix))
    return backbone.pool(tokens)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_put_in_its_place_equals_the_reference(name: str) -> None:
    backbone, x = tiny_backbone(init_values=0.5), inputs(3, 1)
    weight = backbone.linear(2, name).weight * (1 + 0.5 * noise(*backbone.linear(2, name).weight.shape))
    before = backbone.weights_hash()
    found = edited(backbone, x, {(2, name): weight}, {})
    expected = vit_forward(backbone.vit, normalised(x), weights={(2, name): weight})[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (found - features(backbone, x)).abs().max() > 1e-3
    assert backbone.weights_hash() == before
    both = [noise(*weight.shape), weight]
    mixed = MixedWeight(torch.tensor([[0.0, 1.0]] * 3).double(), weight.shape, lambda task, rows: both[task][rows])
    torch.testing.assert_close(edited(backbone, x, {(2, name): mixed}, {}), found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 3, 32), (3, 2, 3, 32)], ids=["one for all", "one for each sample"])
def test_prefixes_equal_the_reference(shape: tuple[int, ...]) -> None:
    backbone, x = tiny_backbone(), inputs(3, 1)
    prefixes = {0: noise(*shape, seed=1), 3: noise(*shape, seed=2)}
    weights = {(3, "qkv"): noise(96, 32, seed=3) * 0.2, (0, "fc1"): noise(128, 32, seed=4) * 0.2}
    found = edited(backbone, x, weights, prefixes)
    expected = vit_forward(backbone.vit, normalised(x), weights=weights, prefixes=prefixes)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_samples_prefix_reaches_that_sample_alone() -> None:
    """METHOD section 7, fault 1: keys from sample 2b and values from 2b + 1."""
    backbone, x = tiny_backbone(), inputs(4, 1)
    prefixes = {1: noise(4, 2, 5, 32, seed=1), 2: noise(4, 2, 5, 32, seed=2)}
    together = edited(backbone, x, {}, prefixes)
    for i in range(4):
        alone = edited(backbone, x[i : i + 1], {}, {b: p[i : i + 1] for b, p in prefixes.items()})
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-9)
        other = edited(backbone, x[i : i + 1], {}, {b: p[i - 1][None] for b, p in prefixes.items()})
        assert (other - alone).abs().max() > 1e-3


@pytest.mark.parametrize("with_prefix", [False, True])
def test_padded_tokens_are_as_if_not_there(with_prefix: bool) -> None:
    backbone, x = tiny_backbone(), inputs(3, 1)
    tokens = backbone.embed(x).x
    padded = torch.cat([tokens, noise(3, 2, 32, seed=9)], 1)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[:, 5:] = False
    edit = BlockEdit({}, noise(1, 2, 3, 32, seed=1)) if with_prefix else BlockEdit()
    short, long = Tokens(tokens), Tokens(padded, mask)
    for block in range(4):
        short, long = backbone.block(block, short, edit), backbone.block(block, long, edit)
    torch.testing.assert_close(long.x[:, :5], short.x, rtol=0, atol=1e-9)
    unmasked = backbone.run(Tokens(padded), 0, 4)
    assert (unmasked.x[:, :5] - backbone.run(Tokens(tokens), 0, 4).x).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}])
def test_bfloat16_is_close_to_float32(options: dict[str, Any]) -> None:
    backbone, x = TimmViT(tiny_vit(**options), "tiny", MEAN, STD), inputs(3, 1).float()
    prefix, mask = noise(1, 2, 3, 32).float(), torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False

    def run() -> Tensor:
        tokens = Tokens(backbone.embed(x).x, mask)
        for block in range(4):
            weight = backbone.linear(block, "fc1").weight * 1.1
            tokens = backbone.block(block, tokens, BlockEdit({"fc1": weight}, prefix))
        return backbone.pool(tokens)

    exact = run()
    backbone.compute_dtype = torch.bfloat16
    rounded = run()
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert (rounded - exact).norm() < 0.03 * (exact - exact.mean(0)).norm() + 0.03 * exact.norm()
    backbone.compute_dtype = torch.float32
    assert torch.equal(run(), exact)


def test_copies_for_bfloat16_follow_the_weights() -> None:
    """After `.to(...)` no stale copy is used."""
    backbone = TimmViT(tiny_vit(), "tiny", MEAN, STD)
    backbone.compute_dtype = torch.bfloat16
    x = inputs(2, 1).float()
    features(backbone, x)
    with torch.no_grad():
        for parameter in backbone.vit.blocks.parameters():
            parameter.mul_(0.5)
    halved = TimmViT(backbone.vit, "tiny", MEAN, STD)
    halved.compute_dtype = torch.bfloat16
    backbone.double().float()
    assert torch.equal(features(backbone, x), features(halved, x))


def test_the_hash_tells_names_types_and_values_apart() -> None:
    hashes = {tiny_backbone(0).weights_hash(), tiny_backbone(1).weights_hash()}
    hashes |= {TimmViT(tiny_vit(0), "tiny", MEAN, STD).weights_hash()}
    swapped = tiny_backbone(0)
    first, second = swapped.linear(0, "proj"), swapped.linear(1, "proj")
    first.weight, second.weight = second.weight, first.weight
    hashes |= {swapped.weights_hash()}
    assert len(hashes) == 4
    assert tiny_backbone(0).weights_hash() == tiny_backbone(0).weights_hash()

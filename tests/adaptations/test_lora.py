"""LoRA is peft's LoRA, in outputs and gradients, on one qkv matrix as on three; with the paper's parameter count."""

import math
from dataclasses import replace
from functools import partial

import peft
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from softtf.adaptations import Compose, LoRA, Site, SoftMask
from softtf.adaptations.base import Selection
from softtf.adaptations.lora import LoRAs, parts_of
from softtf.adaptations.targets import QKV
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from softtf.learners import DualPrompt, Learner
from softtf.learners.class_table import ClassTable
from softtf.network import AdaptedNetwork, SharedPass
from softtf.training.data import begin_training
from support.tiny import (
    MEAN,
    STD,
    TRAIN,
    assert_same,
    generator,
    noise,
    snapshot,
    task_data,
    tiny_backbone,
    tiny_vit,
)
from support.tiny_bert import SIZES, noisy, tiny_bert, token_ids


class SeparateAttention(nn.Module):
    """timm's attention with query, key and value in layers of their own."""

    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.heads, self.proj = attn.num_heads, attn.proj
        for name, weight, bias in zip(QKV, attn.qkv.weight.chunk(3), attn.qkv.bias.chunk(3), strict=True):
            linear = nn.Linear(weight.shape[1], len(weight), dtype=weight.dtype)
            linear.load_state_dict({"weight": weight, "bias": bias})
            setattr(self, name, linear)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        q, k, v = (getattr(self, name)(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in QKV)
        out = ((q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        return self.proj(out.transpose(1, 2).flatten(2))


def peft_vit(names: tuple[str, ...], apart: bool, rank: int, alpha: float) -> VisionTransformer:
    """The tiny ViT in float64 with peft's LoRA in its last two blocks."""
    vit = tiny_vit().double()
    if apart:
        for block in vit.blocks:
            block.attn = SeparateAttention(block.attn)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=rf"blocks\.(2|3)\.\w+\.({'|'.join(names)})", lora_dropout=0.0
    )
    return peft.inject_adapter_in_model(config, vit)


def theirs(vit: VisionTransformer, block: int, name: str, letter: str) -> nn.Parameter:
    owner = vit.blocks[block].mlp if name.startswith("fc") else vit.blocks[block].attn
    return getattr(getattr(owner, name), f"lora_{letter}")["default"].weight


@pytest.mark.parametrize(
    ("targets", "apart"), [("query,value,proj", True), ("key,fc1,fc2", True), ("qkv,proj", False), ("fc2", False)]
)
@pytest.mark.parametrize(("rank", "alpha"), [(3, 12.0), (40, None)])
def test_outputs_and_gradients_are_those_of_peft(targets: str, apart: bool, rank: int, alpha: float | None) -> None:
    names = tuple(targets.split(","))
    vit = peft_vit(names, apart, rank, alpha or rank)
    backbone = tiny_backbone()
    (loras,) = LoRA("3-4", rank, alpha, targets).build(backbone)
    loras.add_task(2, generator(0))
    loras.double()
    slot = loras.slot(0)
    assert len(slot) == 4 * len(names)
    for number, (key, value) in enumerate(slot.items()):
        block, name, letter = int(key[5:7]) - 1, key[8:-2], key[-1]
        other = theirs(vit, block, name, letter)
        assert other.shape == value.shape
        start = noise(*value.shape, seed=number)  # B too: it is zero at the start, and so is A's gradient
        value.data.copy_(start)
        other.data = start.clone()
    network, x, upstream = AdaptedNetwork(backbone, [loras]), noise(3, 3, 16, 16), noise(3, 32, seed=1)
    ours = network.top(SharedPass(network, x).trunk, task=0)
    expected = vit((x - backbone.mean) / backbone.std)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
    assert (ours - AdaptedNetwork(backbone, []).top(SharedPass(AdaptedNetwork(backbone, []), x).trunk, 0)).norm() > 0.1
    (ours * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for key, value in slot.items():
        gradient = theirs(vit, int(key[5:7]) - 1, key[8:-2], key[-1]).grad
        torch.testing.assert_close(value.grad, gradient, rtol=1e-8, atol=1e-11)


def test_on_bert_outputs_and_gradients_are_those_of_peft() -> None:
    theirs_by_name = {
        "query": "attention.self.query",
        "value": "attention.self.value",
        "proj": "attention.output.dense",
    }
    theirs_by_name |= {"fc1": "intermediate.dense"}
    backbone, other = tiny_bert("mean"), noisy(BertModel(BertConfig(**SIZES), add_pooling_layer=False)).double().eval()
    modules = "|".join(name.replace(".", r"\.") for name in theirs_by_name.values())
    config = peft.LoraConfig(
        r=3, lora_alpha=12, target_modules=rf"encoder\.layer\.(2|3)\.({modules})", lora_dropout=0.0
    )
    model = peft.inject_adapter_in_model(config, other)
    (loras,) = LoRA("3-4", 3, 12, ",".join(theirs_by_name)).build(backbone)
    loras.add_task(2, generator(0))
    slot = loras.double().slot(0)

    def their(key: str) -> nn.Parameter:
        layer = model.get_submodule(f"encoder.layer.{int(key[5:7]) - 1}.{theirs_by_name[key[8:-2]]}")
        return getattr(layer, f"lora_{key[-1]}")["default"].weight

    assert len(slot) == 2 * 2 * len(theirs_by_name)
    for number, (key, value) in enumerate(slot.items()):
        value.data.copy_(noise(*value.shape, seed=number))
        their(key).data = value.detach().clone()
    network, ids, upstream = AdaptedNetwork(backbone, [loras]), token_ids(4), noise(4, 32, seed=1)
    real = (ids >= 0)[..., None]
    hidden = model(input_ids=ids.clamp(min=0), attention_mask=real[..., 0].long()).last_hidden_state
    expected = (hidden * real).sum(1) / real.sum(1)
    ours = network.top(SharedPass(network, ids).trunk, task=0)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)
    (ours * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for key, value in slot.items():
        torch.testing.assert_close(value.grad, their(key).grad, rtol=1e-7, atol=1e-10)


def test_it_starts_where_peft_starts() -> None:
    vit, (loras,) = (
        peft_vit(("query", "proj"), True, 30, 30),
        LoRA((3,), 30, targets="query,proj").build(tiny_backbone()),
    )
    loras.add_task(2, generator(0))
    for name in ("query", "proj"):
        ours, other = loras.slot(0)[f"layer03_{name}_A"], theirs(vit, 2, name, "A")
        bound = 32**-0.5
        for a in (ours, other):
            assert a.abs().max() < bound and a.abs().max() > 0.98 * bound and abs(a.mean()) < 0.02
        assert not loras.slot(0)[f"layer03_{name}_B"].any() and not theirs(vit, 2, name, "B").any()


def test_the_published_start_is_smaller_by_the_root_of_the_ranks_of_a_matrix() -> None:
    """Uniform within 1/sqrt(fan in) of a tensor [tasks, ranks, in]: of query and value together, and of proj alone."""
    (loras,) = LoRA((3,), 50, targets="query,value,proj", init="soft-tf").build(tiny_backbone())
    loras.add_task(2, generator(0))
    for name, ranks in (("query", 100), ("value", 100), ("proj", 50)):
        a, bound = loras.slot(0)[f"layer03_{name}_A"], (ranks * 32) ** -0.5
        assert 0.98 * bound < a.abs().max() < bound and abs(a.mean()) < 0.1 * bound
        assert not loras.slot(0)[f"layer03_{name}_B"].any()


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, 1), ({"init": "soft-tf"}, 8), ({"alpha": 6.0}, 2), ({"init": "soft-tf", "alpha": 6.0}, 2)],
)
def test_without_alpha_the_scale_is_the_inits_whatever_the_rank(settings: dict, scale: float) -> None:
    backbone, loras = moved(LoRA((2,), 3, targets="proj", **settings))
    slot, frozen = loras.slot(0), backbone.linear(1, "proj").weight
    change = loras.weight(Site(1, "proj"), frozen, 0) - frozen
    torch.testing.assert_close(change, scale * slot["layer02_proj_B"] @ slot["layer02_proj_A"])


def test_the_published_scale_is_of_any_rank() -> None:
    assert [LoRA((2,), rank, init="soft-tf").build(tiny_backbone())[0].scale for rank in (4, 7)] == [8, 8]  # type: ignore[attr-defined]


def moved(spec: LoRA) -> tuple[TimmViT, LoRAs]:
    """A tiny ViT and increments of one task that are far from zero."""
    backbone = tiny_backbone()
    (loras,) = spec.build(backbone)
    assert isinstance(loras, LoRAs)
    loras.add_task(2, generator(0))
    loras.double()
    for number, value in enumerate(loras.slot(0).values()):
        value.data.copy_(noise(*value.shape, seed=number))
    return backbone, loras


def test_dropout_is_on_what_a_reads_where_noise_is_drawn_and_nowhere_else() -> None:
    """W x + s B A drop(x): a number is zero with probability 0.3, else divided by 0.7; one draw for query and value."""
    backbone, loras = moved(LoRA((2,), 3, 6, "query,value", dropout=0.3))
    network, x = AdaptedNetwork(backbone, [loras]), noise(4, 5, 32, seed=9)
    slot = loras.slot(0)

    def applied() -> Tensor:
        return backbone.apply_linear(x, 1, "qkv", network._edit(1, Selection(task=0)))

    def expected(dropped: Tensor) -> Tensor:
        parts = [2 * dropped @ slot[f"layer02_{n}_A"].T @ slot[f"layer02_{n}_B"].T for n in ("query", "value")]
        layer = backbone.linear(1, "qkv")
        return x @ layer.weight.T + layer.bias + torch.cat([parts[0], torch.zeros(4, 5, 32), parts[1]], 2)

    torch.testing.assert_close(applied(), expected(x))
    loras.noise = generator(5)
    kept = torch.empty(4, 5, 32, dtype=torch.float64).bernoulli_(0.7, generator=generator(5))
    assert 0.6 < kept.mean() < 0.8
    torch.testing.assert_close(applied(), expected(x * kept / 0.7))
    assert not torch.allclose(applied(), expected(x * kept / 0.7))  # the next step draws anew
    loras.noise = None
    torch.testing.assert_close(applied(), expected(x))


@pytest.mark.parametrize("mask_first", [True, False])
def test_dropout_goes_with_a_mask_before_it_but_not_after_it(mask_first: bool) -> None:
    """W * m stands within, s B A beside it: the same network without noise; (W + s B A) * m is no such sum."""
    parts = (SoftMask((2,), "w/ FF", "uniform(0.5,1.5)"), LoRA((2,), 3, dropout=0.3))
    network = partial(
        AdaptedNetwork, tiny_backbone(), Compose(parts[:: 1 if mask_first else -1]).build(tiny_backbone())
    )
    if mask_first:
        network()
    else:
        with pytest.raises(UserError, match="dropout runs beside a weight that SoftMasks edits.*last"):
            network()


def trained(dropout: float, seed: int = 3, epochs: int = 2, stop: int = 0) -> Learner:
    """One task with LoRA; after `stop` epochs the training is begun anew from its state."""
    spec = DualPrompt(e_layers=(3,), adapt=LoRA((3, 4), 3, dropout=dropout))
    config = replace(TRAIN, epochs=epochs)
    state = None
    for last in [stop, epochs] if stop else [epochs]:
        training = begin_training(spec.build(tiny_backbone(), seed), ClassTable(), task_data(0), "first", config)
        if state is not None:
            training.load_state(state)
        while training.epoch < last:
            training.run_epoch()
        state = {name: value.clone() for name, value in training.state().items()}
    return training.learner


def test_dropout_is_drawn_from_the_runs_seed_and_again_on_resuming() -> None:
    torch.manual_seed(1)
    whole = snapshot(trained(0.4))
    torch.rand(5)  # the global generator must not matter
    assert_same(snapshot(trained(0.4)), whole)
    assert_same(snapshot(trained(0.4, stop=1)), whole)
    for other in (trained(0.0), trained(0.4, seed=4)):
        assert not torch.equal(snapshot(other)["0/LoRAs.layer03_query_A"], whole["0/LoRAs.layer03_query_A"])
    assert whole["0/LoRAs.layer03_query_B"].abs().max() > 0


def test_only_the_rows_of_a_named_part_change() -> None:
    backbone = tiny_backbone()
    (loras,) = LoRA((2,), 4, 2.0, "key,value").build(backbone)
    loras.add_task(2, generator(0))
    slot = loras.double().slot(0)
    for name in ("key", "value"):
        slot[f"layer02_{name}_B"].data.copy_(noise(32, 4, seed=len(name)))
    change = loras.weight(Site(1, "qkv"), backbone.linear(1, "qkv").weight, 0) - backbone.linear(1, "qkv").weight
    assert not change[:32].any()
    for start, name in ((32, "key"), (64, "value")):
        product = 0.5 * slot[f"layer02_{name}_B"] @ slot[f"layer02_{name}_A"]
        torch.testing.assert_close(change[start : start + 32], product)
        assert torch.linalg.matrix_rank(change[start : start + 32]) == 4
    assert loras.weight_sites == {(1, "qkv")}


def test_names_mean_the_same_where_query_key_and_value_are_apart() -> None:
    class Apart:
        name, weight_names = "bert", (*QKV, "proj")

        def linear(self, block: int, name: str) -> nn.Linear:
            return nn.Linear(6, 6)

    for names, expected in ((("qkv",), QKV), (("query", "proj"), ("query", "proj"))):
        parts = parts_of(names, Apart(), 0)  # type: ignore[arg-type]
        assert [p.name for p in parts] == [p.whole for p in parts] == list(expected)
        assert all((p.start, p.stop, p.rows, p.columns) == (0, 6, 6, 6) for p in parts)


@pytest.mark.parametrize(
    ("layers", "rank", "paper"),
    [("10-12", 500, 6.93e6), ("10-12", 4, 0.06e6), ("10-12", 24, 0.32e6)],
)
def test_a_vit_b_task_has_the_papers_number_of_parameters(layers: str, rank: int, paper: float) -> None:
    with torch.device("meta"):
        backbone = TimmViT(timm.create_model("vit_base_patch16_224", num_classes=0), "base", MEAN, STD)
    (loras,) = LoRA(layers, rank).build(backbone)
    loras.add_task(10, generator(0))
    assert loras.num_parameters(0) == 3 * 3 * 2 * 768 * rank
    rounding = 0.005e6  # the paper's are rounded to 0.01M
    assert abs(loras.num_parameters(0) - paper) < 0.03 * paper + rounding
    loras.freeze()
    assert loras.num_parameters(0) == 3 * 3 * 2 * 768 * rank


def test_finished_tasks_take_a_byte_a_number_and_stay_close() -> None:
    backbone = tiny_backbone()
    (loras,) = LoRA((2,), 5).build(backbone)
    loras.add_task(2, generator(0))
    for value in loras.slot(0).values():
        value.data.add_(0.1 * noise(*value.shape, seed=len(value)).float())
    before = loras.weight(Site(1, "qkv"), backbone.linear(1, "qkv").weight, 0)
    loras.freeze()
    after = loras.weight(Site(1, "qkv"), backbone.linear(1, "qkv").weight, 0)
    change = before - backbone.linear(1, "qkv").weight
    assert 0 < (after - before).norm() < 0.02 * change.norm()
    codes = [v for v in loras.slot(0).values() if v.dtype == torch.int8]
    assert sum(v.numel() for v in codes) == loras.num_parameters(0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 0}, "lora.rank must be between 1 and 100,000, not 0"),
        ({"rank": 10**9}, "lora.rank.*not 1000000000"),
        ({"alpha": 0.0}, "lora.alpha must be above 0 and finite, not 0"),
        ({"alpha": math.nan}, "alpha.*nan"),
        ({"targets": "qurey"}, "unknown target 'qurey'; did you mean 'query'"),
        ({"targets": "qkv,value"}, "name qkv and a part of it"),
        ({"targets": ""}, "name no weight"),
        ({"layers": "3,3"}, "LoRA layers: a layer is named twice"),
        ({"dropout": 1.0}, "lora.dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "lora.dropout"),
        ({"init": "lore"}, "lora.init: unknown value 'lore'; did you mean 'lora'"),
        ({"layers": "9"}, "LoRA layers: there is no layer 9"),
        ({"layers": "none"}, "match no layer; leave the LoRA out"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        LoRA(**({"layers": (2,), "rank": 2} | settings)).build(tiny_backbone())


def test_a_target_that_the_backbone_lacks_is_refused() -> None:
    class NoMlp:
        name, weight_names = "bert", (*QKV, "proj")

    with pytest.raises(UserError, match="'fc1' matches nothing in backbone 'bert'"):
        parts_of(("fc1",), NoMlp(), 0)  # type: ignore[arg-type]

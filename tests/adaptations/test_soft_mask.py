"""What a soft mask covers, how many numbers that is, and where they start."""

import math

import pytest
import timm
import torch

from contracts.tiny import MEAN, STD, noise, tiny_backbone
from softtf.adaptations import SoftMask
from softtf.adaptations.soft_mask import SoftMasks, backbone_names, initial_mask, parse_targets
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError

ALL = ("qkv", "proj", "fc1", "fc2")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("attn", ("qkv",)),
        ("only ATTN", ("qkv",)),
        ("w/ only ATTN", ("qkv",)),
        ("w/o FF", ("qkv", "proj")),
        ("W/O  ff", ("qkv", "proj")),
        ("w/ FF", ALL),
        ("all", ALL),
        ("qkv,proj", ("qkv", "proj")),
        ("qkv + fc2", ("qkv", "fc2")),
        (" fc1 ", ("fc1",)),
        ("proj,proj", ("proj",)),
        ("query,value", ("query", "value")),
    ],
)
def test_targets(text: str, names: tuple[str, ...]) -> None:
    assert parse_targets(text) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qvk", ("'qvk'", "did you mean 'qkv'")),
        ("qkv,prj", ("'prj'", "'proj'")),
        ("", ("no weight",)),
        (",", ("no weight",)),
    ],
)
def test_a_misspelt_target_is_refused_with_its_neighbours(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        SoftMask((1,), text)
    assert all(word in str(caught.value) for word in words)


def test_a_target_that_this_backbone_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="'query' matches nothing in backbone 'tiny'.*qkv, proj"):
        SoftMask((1,), "query").build(tiny_backbone())


def test_qkv_stands_for_its_three_parts_where_they_are_apart() -> None:
    class Apart:
        name, weight_names = "bert", ("query", "key", "value", "proj")

    assert backbone_names(("qkv", "proj"), Apart()) == Apart.weight_names  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", ["none", ""])
def test_a_mask_on_no_layer_is_refused(layers: str) -> None:
    with pytest.raises(UserError, match="match no layer"):
        SoftMask(layers).build(tiny_backbone())


def test_a_layer_that_the_backbone_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="soft-mask layers: there is no layer 12.*layers 1 to 4"):
        SoftMask((1, 12)).build(tiny_backbone())


@pytest.mark.parametrize(
    ("layers", "targets", "paper", "exact"),
    [
        ("10", "only ATTN", 1.76e6, 3 * 768 * 768),
        ("10", "w/o FF", 2.31e6, 4 * 768 * 768),
        ("10-12", "w/o FF", 6.93e6, 3 * 4 * 768 * 768),
        ("12", "w/ FF", None, 12 * 768 * 768),
    ],
)
def test_a_vit_b_mask_has_the_papers_size(layers: str, targets: str, paper: float | None, exact: int) -> None:
    with torch.device("meta"):
        vit = timm.create_model("vit_base_patch16_224", num_classes=0)
        backbone = TimmViT(vit, "base", MEAN, STD)
        (masks,) = SoftMask(layers, targets).build(backbone)
        assert isinstance(masks, SoftMasks)
        count = sum(math.prod(shape) for shape in masks.shapes.values())
    assert count == exact
    assert paper is None or abs(count / paper - 1) < 0.03


@pytest.mark.parametrize("targets", ["attn", "w/o FF", "w/ FF"])
def test_masks_have_their_weights_shapes_and_multiply_them(targets: str) -> None:
    backbone = tiny_backbone()
    (masks,) = SoftMask((2, 4), targets, "normal(1)").build(backbone)
    masks.add_task(3, torch.Generator().manual_seed(0))
    named = {(b, n) for b in (1, 3) for n in parse_targets(targets)}
    assert masks.task_blocks == {1, 3} and not masks.shared_blocks
    assert {(b, n) for b in range(4) for n in ALL if masks.edits_weight(b, n)} == named
    for block, name in named:
        weight = backbone.linear(block, name).weight
        mask = masks.slot(0)[f"layer{block + 1:02d}_{name}"].detach()
        assert mask.shape == weight.shape
        assert torch.equal(masks.weight(block, name, weight, 0), weight * mask)
        assert abs(mask.mean()) < 0.2 and 0.8 < mask.std() < 1.2


def start(init: str, out: int = 60, inner: int = 40, seed: int = 0) -> torch.Tensor:
    return initial_mask(init, torch.Size((out, inner)), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("init", "low", "high", "mean", "std"),
    [
        ("ones", 1, 1, 1, 0),
        ("uniform(1.0, 1.0)", 1, 1, 1, 0),
        ("uniform(0.5,0.5)", 0.5, 0.5, 0.5, 0),
        ("uniform(0.99,1)", 0.99, 1, 0.995, 0.01 / 12**0.5),
        ("Uniform(-1, 3)", -1, 3, 1, 4 / 12**0.5),
        ("normal", -0.1, 0.1, 0, 0.01),
        ("normal(0.5)", -4, 4, 0, 0.5),
        ("xavier", -((6 / 100) ** 0.5), (6 / 100) ** 0.5, 0, (2 / 100) ** 0.5),
        ("kaiming", -(40**-0.5), 40**-0.5, 0, 40**-0.5 / 3**0.5),
    ],
)
def test_initial_values_lie_where_they_should(init: str, low: float, high: float, mean: float, std: float) -> None:
    mask = start(init)
    assert mask.shape == (60, 40) and low <= mask.min() and mask.max() <= high
    assert mask.mean().item() == pytest.approx(mean, abs=0.1 * std + 1e-6)
    assert mask.std().item() == pytest.approx(std, rel=0.1, abs=1e-9)
    if init[:3] in ("xav", "kai", "Uni") or init == "uniform(0.99,1)":
        assert mask.min() < low + 0.01 * (high - low) and mask.max() > high - 0.01 * (high - low)
    assert torch.equal(mask, start(init)) and (std == 0 or not torch.equal(mask, start(init, seed=1)))


@pytest.mark.parametrize(
    "init",
    [
        "one",
        "uniform",
        "uniform(1)",
        "uniform(2,1)",
        "uniform(a,b)",
        "ones(2)",
        "normal(nan)",
        "normal(1,2)",
        "xavier(1)",
        "",
    ],
)
def test_another_init_is_refused(init: str) -> None:
    with pytest.raises(UserError, match="mask init"):
        SoftMask((1,), "qkv", init)


def test_a_misspelt_init_gets_its_neighbour() -> None:
    with pytest.raises(UserError, match="did you mean 'xavier'"):
        SoftMask((1,), "qkv", "xaiver")


def test_new_tasks_draw_their_own_masks() -> None:
    (masks,) = SoftMask((2,), "qkv", "normal").build(tiny_backbone())
    generator = torch.Generator().manual_seed(0)
    masks.add_task(2, generator)
    masks.add_task(2, generator)
    assert not torch.equal(masks.slot(0)["layer02_qkv"], masks.slot(1)["layer02_qkv"])


def test_the_gradient_of_a_mask_is_the_effective_weights_times_the_frozen_weight() -> None:
    """METHOD section 2: dL/dm = dL/dW_t * W."""
    backbone = tiny_backbone()
    (masks,) = SoftMask((2,), "fc1").build(backbone)
    masks.add_task(2, torch.Generator())
    weight, upstream = backbone.linear(1, "fc1").weight, noise(128, 32)
    (masks.weight(1, "fc1", weight, 0) * upstream).sum().backward()
    torch.testing.assert_close(masks.slot(0)["layer02_fc1"].grad, (upstream * weight).float())

"""What a soft mask covers, how many numbers that is, and where they start."""

import copy
import math
from pathlib import Path

import pytest
import timm
import torch

from softtf.adaptations import Site, SoftMask
from softtf.adaptations.hot import HotSlots
from softtf.adaptations.quantise import Quantised
from softtf.adaptations.slots import Storage
from softtf.adaptations.soft_mask import SoftMasks, initial_mask
from softtf.adaptations.targets import backbone_names, parse_targets
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from softtf.files.tensors import save_tensors
from support.tiny import MEAN, STD, assert_same, noise, tiny_backbone

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
    assert masks.weight_sites == named
    for block, name in named:
        weight = backbone.linear(block, name).weight
        mask = masks.slot(0)[f"layer{block + 1:02d}_{name}"].detach()
        assert mask.shape == weight.shape
        assert torch.equal(masks.weight(Site(block, name), weight, 0), weight * mask)
        assert abs(mask.mean()) < 0.2 and 0.8 < mask.std() < 1.2


# --- finished tasks' masks ------------------------------------------------------------------------------------


def finished(
    spec: SoftMask, tasks: int = 2, storage: Storage = "int8"
) -> tuple[SoftMasks, list[dict[str, torch.Tensor]]]:
    """Masks of finished tasks, moved away from where they started, and what they were when training ended."""
    (masks,) = spec.build(tiny_backbone())
    assert isinstance(masks, SoftMasks)
    masks.storage, trained = storage, []
    for task in range(tasks):
        masks.add_task(2, torch.Generator().manual_seed(task))
        for name, mask in masks.slot(task).items():
            mask.data.add_(0.1 * noise(*mask.shape, seed=len(name) + task).float())
        trained.append({name: mask.detach().clone() for name, mask in masks.slot(task).items()})
    masks.freeze()
    return masks, trained


@pytest.mark.parametrize(("init", "centre"), [("ones", 1), ("uniform(0.9,1)", 1), ("normal", 0), ("kaiming", 0)])
def test_a_finished_tasks_masks_are_a_byte_a_number_within_the_stated_bound(init: str, centre: float) -> None:
    masks, trained = finished(SoftMask((2, 4), "w/ FF", init))
    backbone = tiny_backbone()
    for task, values in enumerate(trained):
        assert masks.num_parameters(task) == sum(value.numel() for value in values.values())
        for block, name in masks.shapes:
            value = values[f"layer{block + 1:02d}_{name}"]
            mask = masks.mask(Site(block, name), task)
            assert isinstance(mask, Quantised) and mask.codes.dtype == torch.int8 and mask.centre == centre
            bound = (value - centre).abs().amax(1, keepdim=True) / 254
            assert ((mask.dequantised() - value).abs() <= bound * 1.001).all()
            weight = backbone.linear(block, name).weight.float()
            torch.testing.assert_close(masks.weight(Site(block, name), weight, task), weight * mask.dequantised())


def test_a_mask_of_ones_stays_one_exactly() -> None:
    (masks,) = SoftMask((2,), "fc1").build(tiny_backbone())
    masks.add_task(2, torch.Generator())
    masks.freeze()
    weight = tiny_backbone().linear(1, "fc1").weight
    assert torch.equal(masks.weight(Site(1, "fc1"), weight, 0), weight)


def test_float32_masks_stay_as_they_were_trained() -> None:
    masks, trained = finished(SoftMask((2, 4), "w/ FF"), storage="float32")
    for task, values in enumerate(trained):
        assert_same(masks.task_state_dict(task), values)
        assert masks.num_parameters(task) == sum(value.numel() for value in values.values())


def test_float16_masks_are_within_its_rounding_and_multiply_in_float32() -> None:
    masks, trained = finished(SoftMask((2, 4), "w/ FF"), storage="float16")
    weight = tiny_backbone().linear(1, "fc1").weight.float()
    for task, values in enumerate(trained):
        kept = masks.task_state_dict(task)
        assert all(torch.equal(kept[name], value.half()) for name, value in values.items())
        found = masks.weight(Site(1, "fc1"), weight, task)
        assert found.dtype == torch.float32 and torch.equal(found, weight * kept["layer02_fc1"].float())


def test_finished_masks_change_no_more() -> None:
    masks, _ = finished(SoftMask((2,), "fc1"))
    before = [copy.deepcopy(masks.task_state_dict(task)) for task in range(2)]
    masks.freeze()
    masks.add_task(2, torch.Generator())
    del masks.slots[-1]
    for task in range(2):
        assert_same(masks.task_state_dict(task), before[task])
    masks.half().float()
    codes = [masks.slot(task)["layer02_fc1"] for task in range(2)]
    assert all(torch.equal(code, old["layer02_fc1"]) for code, old in zip(codes, before, strict=True))


def test_masks_loaded_in_float32_stay_in_float32() -> None:
    """As a version saved them that quantised none."""
    _, (state, _) = finished(SoftMask((2,), "fc1"))
    (masks,) = SoftMask((2,), "fc1").build(tiny_backbone())
    masks.load_task(state)
    masks.add_task(2, torch.Generator())
    masks.freeze()
    assert_same(masks.task_state_dict(0), state)
    weight = tiny_backbone().linear(1, "fc1").weight
    assert torch.equal(masks.weight(Site(1, "fc1"), weight, 0), weight * state["layer02_fc1"])


@pytest.mark.parametrize("storage", ["int8", "float16", "float32"])
def test_masks_kept_on_disk_go_to_the_weights_device_when_they_are_used_only(storage: Storage) -> None:
    source, _ = finished(SoftMask((2,), "fc1"), storage=storage)
    (masks,) = SoftMask((2,), "fc1").build(tiny_backbone())
    masks.storage, masks.hot = storage, HotSlots(0)
    state = source.task_state_dict(0)
    masks.load_task(state)
    masks.add_task(2, torch.Generator())
    masks.to("meta")
    assert {value.device.type for value in masks.slot(1).values()} == {"meta"}
    assert_same(masks.task_state_dict(0), state)
    assert all(value.data_ptr() == state[name].data_ptr() for name, value in masks.slot(0).items())
    weight = tiny_backbone().linear(1, "fc1").weight
    assert masks.weight(Site(1, "fc1"), weight.to("meta"), 0).device.type == "meta"
    assert torch.equal(masks.weight(Site(1, "fc1"), weight, 0), source.weight(Site(1, "fc1"), weight, 0))


def test_a_vit_b_tasks_file_has_at_most_1_1_bytes_a_mask_parameter(tmp_path: Path) -> None:
    """Masks of one layer, and all else that a task of ten classes saves, in float32: the smallest of Table 1."""
    with torch.device("meta"):
        backbone = TimmViT(timm.create_model("vit_base_patch16_224", num_classes=0), "base", MEAN, STD)
    (masks,) = SoftMask("10", "w/o FF").build(backbone)
    masks.add_task(10, torch.Generator())
    masks.freeze()
    rest = {"weight": torch.zeros(10, 768), "bias": torch.zeros(10), "key": torch.zeros(768)}
    rest |= {f"layer{number}_prefix": torch.zeros(2, 5, 768) for number in (3, 4, 5)}
    save_tensors(tmp_path / "task", masks.task_state_dict(0) | rest)
    assert masks.num_parameters(0) == (2304 + 768) * 768
    assert (tmp_path / "task").stat().st_size <= 1.1 * masks.num_parameters(0)


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
    (masks.weight(Site(1, "fc1"), weight, 0) * upstream).sum().backward()
    torch.testing.assert_close(masks.slot(0)["layer02_fc1"].grad, (upstream * weight).float())

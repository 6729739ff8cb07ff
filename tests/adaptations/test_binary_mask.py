"""WSN: exactly c percent are kept, the gradient goes straight through, and a finished mask is a bit a weight."""

from collections.abc import Callable

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softtf.adaptations import BinaryMask, Site
from softtf.adaptations.binary_mask import BinaryMasks, top_share
from softtf.adaptations.hot import HotSlots
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from support.tiny import MEAN, STD, assert_same, generator, noise, tiny_backbone


def masks_of(spec: BinaryMask, tasks: int = 1) -> BinaryMasks:
    (masks,) = spec.build(tiny_backbone())
    assert isinstance(masks, BinaryMasks)
    for task in range(tasks):
        masks.add_task(2, generator(task))
    return masks


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=60), st.floats(0.01, 100))
@settings(deadline=None)
def test_exactly_the_nearest_whole_number_of_the_largest_is_kept_and_of_equals_the_first(
    values: list[float], keep: float
) -> None:
    """Against sorting: many equal scores, and of both signs."""
    count = max(1, round(len(values) * keep / 100))
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    expected = [i in order[:count] for i in range(len(values))]
    assert top_share(torch.tensor(values)[None], keep)[0].tolist() == expected


@pytest.mark.parametrize("keep", [80, 81.0, 87, 90, 95, 100, 33.3, 0.001])
@pytest.mark.parametrize("equal", [True, False])
def test_every_matrix_keeps_its_share_in_training_and_after(keep: float, equal: bool) -> None:
    masks = masks_of(BinaryMask((2, 4), "w/ FF", keep))
    for value in masks.slot(0).values():
        value.data.mul_(0 if equal else 1)
    for _ in range(2):
        for (block, name), shape in masks.shapes.items():
            mask = masks.mask(Site(block, name), 0).float()
            assert mask.sum() == max(1, round(keep / 100 * shape.numel()))
            assert set(mask.unique().tolist()) <= {0.0, 1.0}
            frozen = tiny_backbone().linear(block, name).weight
            assert torch.equal(masks.weight(Site(block, name), frozen, 0), frozen * mask)
        masks.freeze()


def test_a_finished_mask_is_the_trained_one_at_a_bit_a_weight() -> None:
    masks = masks_of(BinaryMask((2, 4), "w/ FF", 70))
    trained = {key: masks.mask(key, 0).detach().clone() for key in masks.shapes}
    numbers = masks.num_parameters(0)
    masks.freeze()
    weights = sum(shape.numel() for shape in masks.shapes.values())
    assert numbers == masks.num_parameters(0) == weights
    assert sum(value.nbytes for value in masks.slot(0).values()) == weights / 8
    assert_same({str(k): masks.mask(k, 0).float() for k in trained}, {str(k): m for k, m in trained.items()})


def test_the_gradient_goes_straight_through_to_the_scores() -> None:
    """dL/ds = dL/dm * sign(s) for all weights, kept or not; dL/dm = dL/dW_t * W."""
    masks, weight, upstream = masks_of(BinaryMask((2,), "fc1", 40)), noise(128, 32), noise(128, 32, seed=1)
    (masks.weight(Site(1, "fc1"), weight, 0) * upstream).sum().backward()
    scores = masks.slot(0)["layer02_fc1"]
    torch.testing.assert_close(scores.grad, (upstream * weight * scores.sign()).float())


def test_scores_start_as_kaiming_has_it_and_anew_for_each_task() -> None:
    masks = masks_of(BinaryMask((2,), "fc1"))
    scores = masks.slot(0)["layer02_fc1"]
    assert 0.98 * 32**-0.5 < scores.abs().max() < 32**-0.5 and abs(scores.mean()) < 0.01
    masks.add_task(2, generator(1))
    assert not torch.equal(masks.mask(Site(1, "fc1"), 0).float(), masks.mask(Site(1, "fc1"), 1))


@pytest.mark.parametrize(
    ("layers", "targets", "keep", "kept", "trained"),
    [
        ("12", "only ATTN", 100, 1.76e6, 1.76e6),
        ("12", "only ATTN", 90, 1.58e6, 1.76e6),  # Table 12 counts what is kept
        ("12", "w/o FF", 100, 2.31e6, 2.31e6),
        ("10-12", "w/o FF", 100, 6.93e6, 6.93e6),
    ],
)
def test_a_vit_b_task_has_the_papers_number_of_parameters(
    layers: str, targets: str, keep: float, kept: float, trained: float
) -> None:
    with torch.device("meta"):
        backbone = TimmViT(timm.create_model("vit_base_patch16_224", num_classes=0), "base", MEAN, STD)
    (masks,) = BinaryMask(layers, targets, keep).build(backbone)
    assert isinstance(masks, BinaryMasks)
    masks.add_task(10, generator(0))
    assert abs(masks.num_parameters(0) / trained - 1) < 0.03
    ones = sum(int(masks.mask(site, 0).sum()) for site in masks.shapes)
    assert abs(ones / kept - 1) < 0.03


def test_masks_kept_on_disk_go_to_the_weights_device_when_they_are_used_only() -> None:
    source, masks = masks_of(BinaryMask((2,), "fc1", 60)), masks_of(BinaryMask((2,), "fc1", 60), 0)
    source.freeze()
    masks.hot = HotSlots(0)
    masks.load_task(source.task_state_dict(0))
    masks.add_task(2, generator(0))
    masks.to("meta")
    weight = noise(128, 32)
    assert masks.weight(Site(1, "fc1"), weight.to("meta"), 0).device.type == "meta"
    assert torch.equal(masks.weight(Site(1, "fc1"), weight, 0), source.weight(Site(1, "fc1"), weight, 0))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: BinaryMask(keep=0), "binary-mask.keep must be above 0 and at most 100, not 0"),
        (lambda: BinaryMask(keep=101), "not 101"),
        (lambda: BinaryMask(keep=float("nan")), "not nan"),
        (lambda: BinaryMask(targets="qvk"), "unknown target 'qvk'; did you mean 'qkv'"),
        (lambda: BinaryMask("none").build(tiny_backbone()), "match no layer; leave the WSN out"),
        (lambda: BinaryMask("5").build(tiny_backbone()), "WSN layers: there is no layer 5"),
    ],
)
def test_what_cannot_be_is_refused(build: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build()

"""SoftNet: the top c percent at exactly one, the others at their own learned value below it."""

from collections.abc import Callable

import pytest
import torch

from softtf.adaptations import Site, SoftNet
from softtf.adaptations.binary_mask import top_share
from softtf.adaptations.quantise import Quantised
from softtf.adaptations.soft_net import SoftNets, soft_subnetwork
from softtf.errors import UserError
from support.tiny import generator, noise, tiny_backbone


def masks_of(keep: float) -> SoftNets:
    (masks,) = SoftNet((2,), "fc1", keep).build(tiny_backbone())
    assert isinstance(masks, SoftNets)
    masks.add_task(2, generator(0))
    return masks


def test_scores_start_between_zero_and_one() -> None:
    scores = masks_of(90).slot(0)["layer02_fc1"]
    assert 0 <= scores.min() < 0.01 and 0.99 < scores.max() <= 1 and abs(scores.mean() - 0.5) < 0.02


@pytest.mark.parametrize("keep", [30, 90, 100])
def test_the_largest_are_one_and_the_others_keep_their_size_up_to_one(keep: float) -> None:
    scores = noise(40, 50)
    mask, major = soft_subnetwork(scores, keep), top_share(scores, keep)
    assert major.sum() == round(20 * keep)
    assert torch.equal(mask[major], torch.ones(int(major.sum())).double())
    assert torch.equal(mask[~major], scores[~major].abs().clamp(max=1))
    assert keep > 40 or (mask[~major] == 1).any()  # some scores beyond one are minor


def test_the_gradient_is_true_for_minor_weights_and_straight_through_for_major_ones() -> None:
    masks, weight, upstream = masks_of(60), noise(128, 32), noise(128, 32, seed=1)
    scores = masks.slot(0)["layer02_fc1"]
    scores.data.copy_(noise(128, 32, seed=2))
    (masks.weight(Site(1, "fc1"), weight, 0) * upstream).sum().backward()
    torch.testing.assert_close(scores.grad, (upstream * weight * scores.sign()).float())


def test_a_finished_mask_has_exact_ones_and_minor_values_within_the_stated_bound() -> None:
    masks, weight = masks_of(60), noise(128, 32).float()
    trained, major = masks.mask(Site(1, "fc1"), 0).detach().clone(), top_share(masks.slot(0)["layer02_fc1"], 60)
    masks.freeze()
    quantised = masks.mask(Site(1, "fc1"), 0)
    assert isinstance(quantised, Quantised) and quantised.codes.dtype == torch.int8
    assert masks.num_parameters(0) == 128 * 32
    assert torch.equal(quantised.dequantised()[major], torch.ones(int(major.sum())))
    assert 0 < (quantised.dequantised() - trained).abs().max() <= 1 / 254 + 1e-6
    torch.testing.assert_close(masks.weight(Site(1, "fc1"), weight, 0), weight * quantised.dequantised())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: SoftNet(keep=-5), "soft-net.keep must be above 0 and at most 100, not -5"),
        (lambda: SoftNet(targets="porj"), "unknown target 'porj'; did you mean 'proj'"),
        (lambda: SoftNet("").build(tiny_backbone()), "match no layer; leave the SoftNet out"),
    ],
)
def test_what_cannot_be_is_refused(build: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build()

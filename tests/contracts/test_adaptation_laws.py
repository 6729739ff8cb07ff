"""Laws 1 and 3: identity, detaching, one-hot mixtures; and what the mixture means for each task's parameters."""

import pytest
import torch

from contracts.cases import ADAPTATIONS, BACKBONES, AdaptationCase, BackboneCase, random_tasks
from softtf.adaptations import Compose, Selection, Site
from softtf.network import AdaptedNetwork, SharedPass
from softtf.testing import check_adaptation
from support.slow import each

adaptations = pytest.mark.parametrize("case", ADAPTATIONS.values(), ids=ADAPTATIONS)
backbones = each("base", BACKBONES, ("ViT", "CLIP, texts", "BERT"))


@adaptations
@backbones
def test_an_identity_leaves_the_features_as_they_are(case: AdaptationCase, base: BackboneCase) -> None:
    backbone, x = base.build(), base.inputs(3, 1)
    parts = case.identity.build(backbone)
    for part in parts:
        part.add_task(2, torch.Generator())
    network = AdaptedNetwork(backbone, parts)
    shared = SharedPass(network, x)
    untouched = backbone.pool(backbone.run(backbone.embed(x), 0, backbone.depth))
    alone = AdaptedNetwork(base.build(), []).top(SharedPass(AdaptedNetwork(base.build(), []), x).trunk, task=0)
    assert torch.equal(untouched, alone)
    torch.testing.assert_close(network.top(shared.trunk, task=0), untouched, rtol=0, atol=1e-12)
    torch.testing.assert_close(shared.query, untouched, rtol=0, atol=1e-12)


@adaptations
def test_what_users_check_theirs_by_holds_for_ours(case: AdaptationCase) -> None:
    """Slots, detaching, equal tasks mixed, neighbours, and Gradient ID by finite differences."""
    check_adaptation(case.spec)


@adaptations
@backbones
def test_a_one_hot_mixture_selects_that_task(case: AdaptationCase, base: BackboneCase) -> None:
    backbone, x = base.build(), base.inputs(3, 1)
    network = AdaptedNetwork(backbone, random_tasks(case, backbone, 3))
    trunk = SharedPass(network, x).trunk
    own = [network.top(trunk, task=t) for t in range(3)]
    for task in range(3):
        alpha = torch.eye(3, dtype=torch.float64)[task].expand(3, 3)
        torch.testing.assert_close(network.top(trunk, mixture=alpha), own[task], rtol=0, atol=1e-10)
        for other in set(range(3)) - {task}:
            apart = (own[task] - own[other]).abs().max() > 1e-3
            assert apart or not network.top_depends_on_task


def test_parts_that_edit_one_weight_are_both_applied() -> None:
    backbone = BACKBONES["ViT"].build()
    spec = ADAPTATIONS["two masks"].spec
    assert isinstance(spec, Compose)
    network = AdaptedNetwork(backbone, random_tasks(ADAPTATIONS["two masks"], backbone, 1))
    first, second = (a.slot(0)["layer04_qkv"] for a in network.adaptations)
    frozen = backbone.linear(3, "qkv").weight
    assert torch.equal(network._weight(Site(3, "qkv"), Selection(0)), frozen * first * second)
    below = backbone.linear(2, "qkv").weight * network.adaptations[0].slot(0)["layer03_qkv"]
    assert torch.equal(network._weight(Site(2, "qkv"), Selection(0)), below)

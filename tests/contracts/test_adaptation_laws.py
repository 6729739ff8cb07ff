"""Laws 1 and 3: identity, detaching, one-hot mixtures; and what the mixture means for each task's parameters."""

import pytest
import torch

from contracts.cases import ADAPTATIONS, BACKBONES, AdaptationCase, BackboneCase, random_tasks
from softtf.adaptations import Compose
from softtf.network import AdaptedNetwork, SharedPass

adaptations = pytest.mark.parametrize("case", ADAPTATIONS.values(), ids=ADAPTATIONS)
backbones = pytest.mark.parametrize("base", BACKBONES.values(), ids=BACKBONES)


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
def test_taking_an_adaptation_away_leaves_the_backbone_bit_for_bit(case: AdaptationCase) -> None:
    base = BACKBONES["ViT"]
    backbone, x = base.build(), base.inputs(3, 1)
    before, features = backbone.weights_hash(), SharedPass(AdaptedNetwork(backbone, []), x).query
    network = AdaptedNetwork(backbone, random_tasks(case, backbone, 2))
    adapted = network.top(SharedPass(network, x).trunk, task=1)
    assert (adapted - features).abs().max() > 1e-3 or not network.top_depends_on_task
    adapted.sum().backward() if adapted.requires_grad else None
    del network
    assert backbone.weights_hash() == before
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    assert torch.equal(SharedPass(AdaptedNetwork(backbone, []), x).query, features)


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


@adaptations
def test_equal_tasks_mixed_in_any_share_are_that_task(case: AdaptationCase) -> None:
    base = BACKBONES["ViT"]
    backbone, x = base.build(), base.inputs(2, 1)
    parts = case.spec.build(backbone)
    for part in parts:
        for _ in range(2):
            part.add_task(2, torch.Generator().manual_seed(5))
        part.freeze()
    network = AdaptedNetwork(backbone, parts)
    trunk = SharedPass(network, x).trunk
    alpha = torch.tensor([[0.3, 0.7]], dtype=torch.float64).expand(2, 2)
    torch.testing.assert_close(network.top(trunk, mixture=alpha), network.top(trunk, task=0), rtol=0, atol=1e-10)


@adaptations
def test_a_task_takes_memory_only_once_it_exists_and_can_be_dropped(case: AdaptationCase) -> None:
    backbone = BACKBONES["ViT"].build()
    for part in case.spec.build(backbone):
        assert part.num_tasks == 0 and not list(part.slots.parameters())
        part.add_task(2, torch.Generator().manual_seed(0))
        assert all(p.requires_grad for p in part.slot(0).values())
        numbers = part.num_parameters(0)
        assert numbers == sum(p.numel() for p in part.slot(0).values())
        part.freeze()
        assert part.num_parameters(0) == numbers
        first = {name: value.clone() for name, value in part.task_state_dict(0).items()}
        part.add_task(2, torch.Generator().manual_seed(1))
        assert not any(p.requires_grad for p in part.slot(0).values())
        del part.slots[-1]
        part.freeze()
        assert part.num_tasks == 1
        assert part.task_state_dict(0).keys() == first.keys()
        assert all(torch.equal(part.task_state_dict(0)[name], first[name]) for name in first)


def test_parts_that_edit_one_weight_are_both_applied() -> None:
    backbone = BACKBONES["ViT"].build()
    spec = ADAPTATIONS["two masks"].spec
    assert isinstance(spec, Compose)
    network = AdaptedNetwork(backbone, random_tasks(ADAPTATIONS["two masks"], backbone, 1))
    first, second = (a.slot(0)["layer04_qkv"] for a in network.adaptations)
    frozen = backbone.linear(3, "qkv").weight
    assert torch.equal(network._task_weight(3, "qkv", 0), frozen * first * second)
    assert torch.equal(network._task_weight(2, "qkv", 0), frozen_of(network, 2))


def frozen_of(network: AdaptedNetwork, block: int) -> torch.Tensor:
    return network.backbone.linear(block, "qkv").weight * network.adaptations[0].slot(0)[f"layer{block + 1:02d}_qkv"]

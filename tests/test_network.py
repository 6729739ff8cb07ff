"""Where trunk and top are cut, and that the cut changes nothing."""

import pytest
import torch

from contracts.tiny import inputs, learned, tiny_backbone
from softtf.adaptations import AdaptationSpec, Compose, NoAdaptation, SoftMask
from softtf.adaptations.base import Selection
from softtf.learners import DualPrompt, LinearHead
from softtf.network import SharedPass

NOISY = "uniform(0.5,1.5)"


@pytest.mark.parametrize(
    ("g_layers", "e_layers", "adapt", "edited", "per_task"),
    [
        ((1, 2), (3, 4), NoAdaptation(), 0, 2),
        ((2,), (4,), NoAdaptation(), 1, 3),
        ("none", (2, 4), NoAdaptation(), 1, 1),
        ((1,), (4,), SoftMask((2,)), 0, 1),
        ((3,), "none", SoftMask((2, 4)), 1, 1),
        ("none", "none", SoftMask((3, 4)), 2, 2),
        ((1, 2), "none", NoAdaptation(), 0, 4),
        ("none", "none", NoAdaptation(), 4, 4),
        ((4,), (1,), NoAdaptation(), 0, 0),
        ("none", "none", Compose((SoftMask((4,)), SoftMask((3,), "fc1"))), 2, 2),
    ],
)
def test_the_cuts_are_the_first_edit_and_the_first_edit_by_a_task(
    g_layers: object, e_layers: object, adapt: AdaptationSpec, edited: int, per_task: int
) -> None:
    network = DualPrompt(g_layers, 5, e_layers, 5, adapt=adapt).build(tiny_backbone(), 0).network  # type: ignore[arg-type]
    assert (network.first_edited_block, network.first_task_block) == (edited, per_task)
    assert network.top_depends_on_task == (per_task < 4)


def test_a_linear_head_edits_nothing() -> None:
    network = LinearHead().build(tiny_backbone(), 0).network
    assert (network.first_edited_block, network.first_task_block, network.edits_weights) == (4, 4, False)


@pytest.mark.parametrize(
    "spec",
    [
        DualPrompt((1, 3), 2, (3, 4), 3, adapt=SoftMask((4,), "w/ FF", NOISY)),
        DualPrompt((4,), 2, (2,), 3, adapt=SoftMask((3,), "w/ FF", NOISY)),
        DualPrompt("none", 2, "none", 3, adapt=SoftMask((3,), "w/ FF", NOISY)),
        DualPrompt((1, 2), 2, (4,), 3),
    ],
)
def test_stem_trunk_and_top_equal_running_every_block_for_the_task(spec: DualPrompt) -> None:
    learner, x = learned(spec).learner, inputs(3, 1)
    network, backbone = learner.network, learner.network.backbone
    with torch.no_grad():
        shared = SharedPass(network, x)
        for task in range(3):
            tokens = backbone.embed(x)
            for block in range(backbone.depth):
                tokens = backbone.block(block, tokens, network._edit(block, Selection(task)))
            expected = backbone.pool(tokens)
            torch.testing.assert_close(network.top(shared.trunk, task=task), expected, rtol=0, atol=1e-9)
        untouched = backbone.pool(backbone.run(backbone.embed(x), 0, backbone.depth))
        torch.testing.assert_close(shared.query, untouched, rtol=0, atol=1e-9)


def test_the_shared_part_is_computed_once() -> None:
    learner = learned(DualPrompt(e_layers=(3, 4))).learner
    shared = SharedPass(learner.network, inputs(2))
    assert shared.stem is shared.stem and shared.trunk is shared.trunk and shared.query is shared.query
    assert not shared.query.requires_grad and not shared.stem.x.requires_grad


def test_heads_put_tasks_columns_side_by_side() -> None:
    heads = learned(LinearHead()).learner.network.heads
    features = inputs(2, 1).flatten(1)[:, :32]
    own = [features @ heads.slot(t)["weight"].T + heads.slot(t)["bias"] for t in range(3)]
    torch.testing.assert_close(heads(features, range(3)), torch.cat(own, 1))
    torch.testing.assert_close(heads(features, range(1, 2)), own[1])

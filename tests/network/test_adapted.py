"""Where trunk and top are cut, and that the cut changes nothing."""

import pytest
import torch
from torch import Tensor

from softtf.adaptations import (
    Adaptation,
    AdaptationSpec,
    Adapter,
    Compose,
    LoRA,
    NoAdaptation,
    Selection,
    Site,
    SoftMask,
)
from softtf.errors import UserError
from softtf.learners import L2P, DualPrompt, LearnerSpec, LinearHead, ProgressivePrompts
from softtf.network import AdaptedNetwork, SharedPass
from support.tiny import generator, inputs, learned, noise, tiny_backbone

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


class Edits(Adaptation):
    """Its hooks return what they are given, and note which sites they are asked for."""

    def __init__(self, weights: set[Site], outputs: set[Site]) -> None:
        super().__init__()
        self.weight_sites, self.output_sites, self.asked = (
            frozenset(weights),
            frozenset(outputs),
            set[tuple[str, Site]](),
        )

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = slice(None)) -> Tensor:
        self.asked.add(("weight", site))
        return weight

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        self.asked.add(("output", site))
        return y


def test_an_adaptation_is_asked_at_its_sites_alone_and_what_comes_back_as_it_was_is_no_edit() -> None:
    backbone, x = tiny_backbone(), inputs(2)
    weights, outputs = {Site(1, "fc1"), Site(3, "qkv")}, {Site(1, "fc1"), Site(3, "proj")}
    edits = Edits(weights, outputs)
    network = AdaptedNetwork(backbone, [edits])
    assert edits.task_blocks == {1, 3} and network.first_task_block == 1 and network.edits_weights
    assert not any(network._edit(block, Selection(0)).weights for block in range(4))
    untouched = backbone.pool(backbone.run(backbone.embed(x), 0, 4))
    assert torch.equal(network.top(SharedPass(network, x).trunk, task=0), untouched)
    assert edits.asked == {("weight", s) for s in weights} | {("output", s) for s in outputs}


def test_sites_are_shared_where_all_tasks_share_their_parameters() -> None:
    edits = Edits({Site(1, "fc1")}, {Site(2, "fc1")})
    edits.shared_blocks = frozenset({1})
    network = AdaptedNetwork(tiny_backbone(), [edits])
    assert (network.first_edited_block, network.first_task_block) == (1, 2)


@pytest.mark.parametrize("site", [Site(4, "qkv"), Site(-1, "qkv"), Site(0, "query")])
def test_a_site_that_the_backbone_lacks_is_refused(site: Site) -> None:
    with pytest.raises(
        UserError, match=f"Edits edits '{site.weight}' of block {site.block}, .* blocks 0 to 3 with qkv, "
    ):
        AdaptedNetwork(tiny_backbone(), [Edits(set(), {site})])


@pytest.mark.parametrize("name", ["qkv", "fc1"])
@pytest.mark.parametrize("dropout_first", [True, False])
def test_dropout_stands_within_what_follows_the_layer(name: str, dropout_first: bool) -> None:
    """An adapter reads W x + s B A drop(x) in training as it reads (W + s B A) x later, whichever is named first."""
    backbone, spec = tiny_backbone(), LoRA((4,), 3, targets=name, dropout=1e-9)
    parts: list[Adaptation] = [*spec.build(backbone), *Adapter((4,), 3, "fc1").build(backbone)]
    for part in parts:
        part.add_task(2, generator(0))
        for number, value in enumerate(part.double().slot(0).values()):
            value.data.copy_(noise(*value.shape, seed=number))
    network, x = AdaptedNetwork(backbone, parts if dropout_first else parts[::-1]), inputs(3)
    trunk = SharedPass(network, x).trunk
    later = network.top(trunk, task=0)
    parts[0].noise = generator(1)
    edit = network._edit(3, Selection(0))
    assert not edit.weights and edit.outputs.keys() == {name, "fc1"}
    torch.testing.assert_close(network.top(trunk, task=0), later)


def test_heads_put_tasks_columns_side_by_side() -> None:
    heads = learned(LinearHead()).learner.network.heads
    features = inputs(2, 1).flatten(1)[:, :32]
    own = [features @ heads.slot(t)["weight"].T + heads.slot(t)["bias"] for t in range(3)]
    torch.testing.assert_close(heads(features, range(3)), torch.cat(own, 1))
    torch.testing.assert_close(heads(features, range(1, 2)), own[1])


@pytest.mark.parametrize("spec", [DualPrompt(e_layers=(3,), adapt=SoftMask((4,))), L2P(), ProgressivePrompts(2, 3)])
def test_a_walk_ends_where_the_answer_is_computed(spec: LearnerSpec) -> None:
    network = learned(spec).learner.network
    shared = SharedPass(network, inputs(2))
    *_, (index, tokens, edit) = network.walk(shared.stem, 1, shared.query if network.needs_query else None)
    features = network.backbone.pool(network.backbone.block(index, tokens, edit))
    assert torch.equal(features, network.top(shared.trunk, task=1))

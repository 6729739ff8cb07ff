"""The floors' formulas against the multiply-adds that PyTorch counts when the work is done."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import floors
from benchmarks.floors import Shape, shape_of
from benchmarks.twin import NaiveTwin, twin_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from softtf.adaptations import SoftMask
from softtf.inference import GradientID
from softtf.learners import DualPrompt
from softtf.learners.base import Batch
from softtf.network import SharedPass
from support.tiny import inputs, learned

SPEC = DualPrompt((1, 2), 2, (3, 4), 3, adapt=SoftMask((3, 4)))
BATCH = 3
HEAD = 4 * 32  # entries of the third task's head


def counted(call) -> float:
    """Multiply-adds of a call, for one image."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops() / 2 / BATCH


@pytest.fixture(scope="module")
def shape() -> Shape:
    return shape_of(learned(SPEC).learner)


@pytest.fixture(scope="module")
def whole(shape: Shape) -> Shape:
    """The same where the last block computes every token, as timm's and the twin's does."""
    return replace(shape, read=shape.tokens)


@pytest.fixture
def twin() -> NaiveTwin:
    return twin_of(learned(SPEC).learner).requires_grad_(False)


@pytest.mark.slow
def test_the_shape_is_the_networks(shape: Shape) -> None:
    expected = Shape(32, 128, 5, 1, 192, (2, 2, 3, 3), ((), (), ("qkv", "proj"), ("qkv", "proj")), 0, 2)
    assert shape == expected


def test_forward(whole: Shape, twin: NaiveTwin) -> None:
    assert counted(lambda: twin.query(inputs(BATCH))) == floors.forward(whole)
    heads = 9 * 32
    assert counted(lambda: twin.oracle(inputs(BATCH), 1)) == floors.oracle(whole) + heads


@pytest.mark.parametrize("g_prompt", [True, False])
def test_training_step(whole: Shape, twin: NaiveTwin, g_prompt: bool) -> None:
    """The twin embeds twice, and takes every key's and value's gradient where the floor takes the prefix's alone."""
    for module in (twin.tasks[-1], *([twin.general] * g_prompt)):
        module.requires_grad_(True)
    found = counted(lambda: twin.loss(inputs(BATCH), torch.tensor([0, 1, 2])).backward())
    lowest = 0 if g_prompt else 2
    floor = floors.training_step(whole, lowest)
    n, p, d = whole.tokens, whole.prefix[0], whole.dim
    more = floors.embedding(whole) + 3 * HEAD + (3 * n * (n + p) - 3 * n * p) * d * g_prompt
    assert found == pytest.approx(floor + more, rel=1e-12)


def test_a_known_query_saves_its_blocks(shape: Shape) -> None:
    saved = floors.training_step(shape) - floors.training_step(shape, query=False)
    assert saved == floors.forward(shape) - floors.embedding(shape)
    without = replace(shape, prefix=(0, *shape.prefix[1:]))
    shared = replace(without, first_edited=1)  # then query and trunk have the first block in common
    block = floors.blocks(shape, 0, False) - floors.blocks(shape, 1, False)
    assert floors.training_step(without, 2) - floors.training_step(shared, 2) == block


def test_prompt_id(whole: Shape, twin: NaiveTwin) -> None:
    """The twin embeds twice; its keys and heads are not in the floor."""
    found = counted(lambda: twin.prompt_id(inputs(BATCH)))
    assert found == floors.prompt_id(whole) + floors.embedding(whole) + 3 * 32 + 9 * 32


def test_gradient_id(whole: Shape, twin: NaiveTwin) -> None:
    """Without its query, the second trunk and the second head, the twin does what the floor counts but for alpha."""
    found = counted(lambda: twin.gradient_id(inputs(BATCH)))
    query = floors.forward(whole) + 3 * 32
    trunk = floors.oracle(whole) - floors.blocks(whole, whole.first_task, True)
    inner = 3 * floors.mask_entries(whole)  # element-wise in the twin, so not counted
    heads = 3 * 9 * 32  # forward, backward, answer
    assert found == pytest.approx(floors.gradient_id(whole, 3) - inner + query + trunk + heads, rel=1e-12)


@pytest.mark.parametrize("work", ["query", "oracle", "training", "gradient-id"])
def test_softtf_does_what_the_floor_counts_and_little_else(shape: Shape, work: str) -> None:
    learner, x = learned(SPEC).learner, inputs(BATCH)

    @torch.no_grad()
    def query() -> None:
        _ = SharedPass(learner.network, x).query

    @torch.no_grad()
    def oracle() -> None:
        learner.logits(SharedPass(learner.network, x).trunk, 1)

    def training() -> None:
        learner.open_slots(2)
        learner.double()
        sum(learner.loss(Batch(x, torch.tensor([9, 10, 9]), torch.arange(3))).values()).backward()

    @torch.no_grad()
    def gradient_id() -> None:
        shared = SharedPass(learner.network, x)
        GradientID().scores(learner, shared)
        learner.logits(shared.trunk, 1)

    works = {
        "query": (query, floors.forward(shape)),
        "oracle": (oracle, floors.oracle(shape)),
        "training": (training, floors.training_step(shape)),
        "gradient-id": (gradient_id, floors.gradient_id(shape, 3)),
    }
    call, floor = works[work]
    with learner.computing_in(torch.float64):
        found = counted(call)
    assert floor <= found < 1.05 * floor


def test_all_policies_share_the_trunk(shape: Shape) -> None:
    top = floors.blocks(shape, shape.first_task, True)
    trunk = floors.oracle(shape) - top
    apart = floors.prompt_id(shape) + floors.gradient_id(shape, 10) + floors.oracle(shape)
    assert floors.all_policies(shape, 10, 3) == apart - 2 * trunk
    assert floors.all_policies(shape, 10, 1) == apart - 2 * trunk - 2 * top


@pytest.mark.slow
def test_the_readmes_table_is_what_the_formulas_give() -> None:
    assert floors.papers_table() in (Path(floors.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_vit_b_is_as_large_as_everyone_says() -> None:
    masked = ((),) * 9 + (("qkv", "proj"),) * 3
    vit_b = Shape(768, 3072, 197, 197, 768, (0,) * 12, masked, 0, 9)
    assert 17.5e9 < floors.forward(vit_b) < 17.6e9
    assert floors.mask_entries(vit_b) == 3 * 4 * 768**2 == 7_077_888  # the paper's 6.93M with its own rounding
    assert floors.mask_bytes(vit_b, 4) == 4 * 7_077_888

"""Where adapters stand, how many numbers they have, and what a mixture of them is."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor

from references.vit import vit_forward
from softtf.adaptations import Adapter, Compose, Site
from softtf.adaptations.adapter import Adapters, parse_places
from softtf.adaptations.base import Selection
from softtf.adaptations.hot import HotSlots
from softtf.adaptations.slots import Storage
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from softtf.network import AdaptedNetwork, SharedPass
from support.by_hand import normalised, task_adapters
from support.tiny import MEAN, STD, generator, inputs, noise, tiny_backbone


def adapted(spec: Adapter | Compose, tasks: int = 1, storage: Storage = "int8") -> AdaptedNetwork:
    """The tiny ViT with adapters far from zero, in float64."""
    backbone = tiny_backbone()
    adapters = spec.build(backbone)
    for part, adapter in enumerate(adapters):
        adapter.storage = storage
        for task in range(tasks):
            adapter.add_task(2, generator(task))
            for number, value in enumerate(adapter.slot(task).values()):
                value.data.copy_(0.3 * noise(*value.shape, seed=50 * part + 10 * task + number))
        adapter.double()
    return AdaptedNetwork(backbone, adapters)


@pytest.mark.parametrize(
    ("after", "names"),
    [
        ("mlp", ("fc2",)),
        ("attention", ("proj",)),
        ("attention,mlp", ("proj", "fc2")),
        ("fc1, fc2", ("fc1", "fc2")),
        ("MLP,fc2", ("fc2",)),
    ],
)
def test_an_adapter_stands_on_the_output_of_each_named_layer(after: str, names: tuple[str, ...]) -> None:
    assert parse_places(after) == names
    network = adapted(Adapter((2, 4), 3, after))
    x = inputs(3, 1)
    bottlenecks = task_adapters(network, 0)
    assert bottlenecks.keys() == {(b, n) for b in (1, 3) for n in names}
    expected = vit_forward(network.backbone.vit, normalised(x), adapters=bottlenecks)[0]
    found = network.top(SharedPass(network, x).trunk, task=0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert network.edits_weights and network.first_task_block == 1


def test_two_adapters_after_one_layer_follow_each_other() -> None:
    network = adapted(Compose((Adapter((2,), 3, "fc1"), Adapter((2,), 2, "fc1"))))
    site, x, y, selection = Site(1, "fc1"), noise(2, 5, 32), noise(2, 5, 128, seed=1), Selection(task=0)
    first, second = network.adaptations
    expected = second.output(site, x, first.output(site, x, y, selection), selection)
    assert torch.equal(network._edit(1, selection).outputs["fc1"](x, y), expected)


def test_a_mixture_mixes_matrices_and_biases_and_each_sample_has_its_own_gradient() -> None:
    """Against autograd through explicit matrices and biases for each sample."""
    network, tasks = adapted(Adapter((2,), 3, "mlp"), 3, "float32"), range(3)
    (adapters,) = network.adaptations
    alpha = torch.tensor([0.2, 0.3, 0.5]).double().expand(4, 3).clone().requires_grad_()
    x, upstream = noise(4, 5, 32, seed=1).requires_grad_(), noise(4, 5, 32, seed=2)
    ours = adapters.output(Site(1, "fc2"), x, x, Selection(mixture=alpha))

    def mixed(name: str) -> Tensor:
        return torch.einsum(
            "bt,t...->b...", alpha, torch.stack([adapters.slot(t)[f"layer02_fc2_{name}"] for t in tasks])
        )

    hidden = torch.einsum("bni,bri->bnr", x, mixed("down")) + mixed("down_bias")[:, None]
    gelu = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    plain = x + torch.einsum("bnr,bir->bni", gelu, mixed("up")) + mixed("up_bias")[:, None]
    torch.testing.assert_close(ours, plain)
    gradients = [torch.autograd.grad(out, (x, alpha), upstream) for out in (ours, plain)]
    torch.testing.assert_close(*gradients)
    assert gradients[0][1].std(0).min() > 0.1


def test_a_new_task_starts_as_the_backbone() -> None:
    (adapters,) = Adapter((2,), 30, "fc1").build(tiny_backbone())
    adapters.add_task(2, generator(0))
    slot, bound = adapters.slot(0), 128**-0.5
    assert slot["layer02_fc1_down"].shape == (30, 128) and slot["layer02_fc1_up"].shape == (128, 30)
    assert 0.99 * bound < slot["layer02_fc1_down"].abs().max() < bound
    assert not any(slot[f"layer02_fc1_{name}"].any() for name in ("down_bias", "up", "up_bias"))


def test_its_product_is_computed_in_the_type_of_its_input() -> None:
    network = adapted(Adapter((2,), 3, "fc1"), 2)
    network.adaptations[0].float()
    (adapters,), x = network.adaptations, noise(2, 5, 128)
    mixture = torch.full((2, 2), 0.5)
    for selection in (Selection(task=1), Selection(mixture=mixture)):
        exact, rounded = (
            adapters.output(Site(1, "fc1"), x.to(t), x.to(t), selection) for t in (torch.float32, torch.bfloat16)
        )
        assert exact.dtype == torch.float32 and rounded.dtype == torch.bfloat16
        assert (exact - rounded).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize(
    ("layers", "rank", "after", "paper"),
    [
        ("all", 75, "fc1,fc2", 6.93e6),  # Table 1
        ("10-12", 300, "fc1,fc2", 6.93e6),  # Table 8
        ("all", 1, "fc1,fc2", 0.09e6),  # Table 8 names three layers; the docstring tells
        ("all", 4, "fc1,fc2", 0.36e6),
        ("all", 75, "mlp", None),
        ("10-12", 300, "mlp", None),
    ],
)
def test_a_vit_b_task_has_the_papers_number_of_parameters(
    layers: str, rank: int, after: str, paper: float | None
) -> None:
    with torch.device("meta"):
        backbone = TimmViT(timm.create_model("vit_base_patch16_224", num_classes=0), "base", MEAN, STD)
    (adapters,) = Adapter(layers, rank, after).build(backbone)
    adapters.add_task(10, generator(0))
    widths = {"fc1,fc2": (3072, 768), "mlp": (768,)}[after]
    blocks = 12 if layers == "all" else 3
    matrices = blocks * sum(2 * width * rank for width in widths)
    count = matrices + blocks * sum(rank + width for width in widths)
    assert adapters.num_parameters(0) == count
    rounding = 0.005e6  # the paper's are rounded to 0.01M
    assert round(matrices / 1e6, 2) == 1.38 if paper is None else abs(matrices - paper) < 0.03 * paper + rounding
    assert paper != 6.93e6 or abs(count / paper - 1) < 0.03
    adapters.freeze()
    assert adapters.num_parameters(0) == count


def test_finished_tasks_take_a_byte_a_number_beside_exact_biases() -> None:
    network = adapted(Adapter((2,), 16, "fc1"))
    (adapters,), x = network.adaptations, noise(2, 5, 128)
    before = adapters.output(Site(1, "fc1"), x, x, Selection(task=0))
    biases = {k: v.clone() for k, v in adapters.slot(0).items() if k.endswith("bias")}
    adapters.freeze()
    assert 0 < (adapters.output(Site(1, "fc1"), x, x, Selection(task=0)) - before).norm() < 0.02 * (before - x).norm()
    assert all(torch.equal(adapters.slot(0)[name], bias) for name, bias in biases.items())
    matrices = [v for v in adapters.slot(0).values() if v.dtype == torch.int8]
    assert sum(v.numel() for v in matrices) == 2 * 16 * 128


@pytest.mark.parametrize("storage", ["int8", "float16", "float32"])
def test_adapters_left_on_disk_serve_beside_new_ones(storage: Storage) -> None:
    source = adapted(Adapter((2,), 3, "fc1"), storage=storage).adaptations[0].float()
    source.freeze()
    (adapters,) = Adapter((2,), 3, "fc1").build(tiny_backbone())
    assert isinstance(adapters, Adapters)
    adapters.storage, adapters.hot = storage, HotSlots(0)
    state = source.task_state_dict(0)
    adapters.load_task(state)
    adapters.add_task(2, generator(1))
    adapters.to("meta")
    assert all(value.data_ptr() == state[name].data_ptr() for name, value in adapters.slot(0).items())
    x = torch.empty(2, 5, 128, device="meta")
    for selection in (Selection(task=0), Selection(mixture=torch.empty(2, 2, device="meta"))):
        assert adapters.output(Site(1, "fc1"), x, x, selection).device.type == "meta"


Build = Callable[[], object]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Adapter(rank=0), "adapter.rank must be between 1 and 100,000, not 0"),
        (lambda: Adapter(after="mpl"), "unknown place for adapters 'mpl'; did you mean 'mlp'"),
        (lambda: Adapter(after="qkv"), "unknown place for adapters 'qkv'"),
        (lambda: Adapter(after=" "), "follow nothing"),
        (lambda: Adapter((9,)).build(tiny_backbone()), "adapter layers: there is no layer 9"),
        (lambda: Adapter("none").build(tiny_backbone()), "match no layer; leave the adapter out"),
    ],
)
def test_what_cannot_be_is_refused(build: Build, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build()


def test_a_new_task_starts_as_the_identity_or_as_published() -> None:
    """Houlsby's start in the paper, section 3.6; Soft-TF's in the published code, both matrices alike."""

    def started(init: str) -> tuple[Tensor, Tensor]:
        (adapters,) = Adapter((2,), 40, "fc1", init=init).build(tiny_backbone())  # type: ignore[arg-type]
        adapters.add_task(2, generator(3))
        slot = adapters.slot(0)
        assert not any(value.any() for name, value in slot.items() if name.endswith("bias"))
        assert slot["layer02_fc1_down"].shape == (40, 128) and slot["layer02_fc1_up"].shape == (128, 40)
        return slot["layer02_fc1_down"].detach(), slot["layer02_fc1_up"].detach()

    def uniform(matrix: Tensor, bound: float) -> bool:
        return bool(0.98 * bound < matrix.abs().max() <= bound and abs(matrix.std() / bound - 3**-0.5) < 0.02)

    down, up = started("identity")
    assert uniform(down, 128**-0.5) and not up.any()
    down, up = started("soft-tf")
    assert uniform(down, (40 * 128) ** -0.5) and uniform(up, (40 * 128) ** -0.5) and not torch.equal(down, up.T)
    for matrix in started("houlsby"):
        assert 0.0195 < matrix.abs().max() <= 0.02
        assert abs(matrix.std() - 0.0088) < 0.0003  # a normal of 0.01 cut off at two deviations
    with pytest.raises(UserError, match="adapter.init: unknown value 'houlsbey'; did you mean 'houlsby'"):
        Adapter(init="houlsbey")  # type: ignore[arg-type]

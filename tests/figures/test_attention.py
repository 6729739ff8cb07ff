"""Attention maps: what the backbone's attention gives each patch, found again with timm's own layers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from figures import drawn, table
from figures.conftest import Make
from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.figures import numbers_of
from softtf.figures.attention import attention_map, check_images, effective_patches
from softtf.learners import L2P, DualPrompt, ProgressivePrompts
from softtf.network import AdaptedNetwork, SharedPass
from support.tiny import TRAIN, task_data, tiny_backbone, tiny_clip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return [folder / "a.png", folder / "b.png"]


def softmax(x: torch.Tensor) -> torch.Tensor:
    e = (x - x.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


@pytest.mark.parametrize("block", range(4))
def test_the_untouched_backbone_attends_as_timm_does(block: int) -> None:
    backbone = tiny_backbone()
    inputs = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    found = attention_map(AdaptedNetwork(backbone, []), inputs, 0, block)
    vit = backbone.vit
    x = vit._pos_embed(vit.patch_embed((inputs - backbone.mean) / backbone.std))
    for layer in vit.blocks[:block]:
        x = layer(x)
    attn = vit.blocks[block].attn
    q, k, _ = attn.qkv(vit.blocks[block].norm1(x)).chunk(3, -1)
    heads = [softmax(q[..., h] @ k[..., h].transpose(-2, -1) / 4) for h in (slice(0, 16), slice(16, 32))]
    wanted = (sum(heads) / 2)[:, 0, 1:].view(2, 2, 2)
    assert torch.allclose(found, wanted)


SPECS = {
    "dual-prompt": DualPrompt(e_layers=(3, 4), adapt=SoftMask((4,))),
    "l2p": L2P(adapt=SoftMask((3,))),
    "progressive": ProgressivePrompts(length=2, mlp=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("block", range(4))
def test_maps_are_of_the_tasks_own_network(name: str, block: int) -> None:
    model = ContinualClassifier(tiny_backbone(), SPECS[name], TRAIN, device="cpu", seed=3)
    for task in range(2):
        model.learn(task_data(task), progress=False)
    network, backbone = model.learner.network, model.learner.network.backbone
    inputs = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    maps = attention_map(network, inputs, 1, block)
    shared = SharedPass(network, inputs)
    query = shared.query if network.needs_query else None
    behind = 2 * 2 if name == "progressive" else 0  # prompts behind the four patches
    walked = {i: (t, e) for i, t, e in network.walk(shared.stem, 1, query)}
    tokens, edit = walked.get(block, (None, None))
    if tokens is None:
        tokens, edit = backbone.run(backbone.embed(inputs), 0, block), None
    weights = backbone.attention_weights(block, tokens, *([edit] if edit else []))
    assert torch.allclose(weights.sum(-1), torch.ones(()).double())
    patches = weights[..., weights.shape[-1] - behind - 4 :][..., :4]
    assert torch.allclose(maps.flatten(1), patches[:, :, : tokens.read].mean((1, 2)))
    assert torch.equal(maps, attention_map(network, inputs, 0, block)) == (block < network.first_task_block)


def test_clip_images_have_maps() -> None:
    network = AdaptedNetwork(tiny_clip(), [])
    found = attention_map(network, torch.rand(1, 3, 16, 16, dtype=torch.float64), 0, 3)
    assert found.shape == (1, 2, 2) and 0 < found.sum() < 1


@pytest.mark.slow
def test_rows_are_the_maps_of_each_run(made: Make, photos: list[Path]) -> None:
    runs = [made(), made("dual-prompt")]
    found = numbers_of("attention", runs, images=photos, layer=5)
    rows = table(found)
    for run, label in zip(runs, ("DualPrompt + Soft-TF", "DualPrompt"), strict=True):
        model = ContinualClassifier.from_pretrained(run / "learner", device="cpu")
        for photo, task in zip(photos, model.predict_task([str(p) for p in photos]), strict=True):
            mine = [row for row in rows if (row["image"], row["learner"]) == (photo.name, label)]
            loaded = model.learner.network.backbone.preparation.load_test(str(photo), "")
            inputs = model.learner.network.backbone.preparation.batch([loaded], "cpu")
            with torch.no_grad():
                wanted = attention_map(model.learner.network, inputs, task, 4)[0]
            assert {row["task"] for row in mine} == {str(task + 1)} and {row["layer"] for row in mine} == {"5"}
            assert [float(row["attention"]) for row in mine] == pytest.approx(wanted.flatten().tolist(), abs=1e-6)
    figure = drawn("attention", found)
    assert [axis.get_title() for axis in figure.axes].count("a.png") == 1
    assert "quickstart" in found.caption and "layer 5" in found.caption


def test_images_of_one_name_stay_apart(made: Make, photos: list[Path]) -> None:
    found = numbers_of("attention", [made()], images=[photos[0], photos[0]])
    assert list(found.pictures) == ["a.png", "a.png (2)"]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_cannot_be_drawn_is_refused(made: Make, photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="attention needs images: --images"):
        numbers_of("attention", [made()])
    seeds = [made("dual-prompt+soft-tf", "--seed", seed) for seed in range(4)]
    with pytest.raises(UserError, match="one to 3 runs side by side, not 4"):
        numbers_of("attention", seeds, images=photos)
    with pytest.raises(UserError, match="at most 12 images, not 13"):
        numbers_of("attention", [made()], images=[photos[0]] * 13)
    with pytest.raises(UserError, match="there is no layer 99"):
        numbers_of("attention", [made()], images=photos, layer=99)
    with pytest.raises(UserError, match="missing.png"):
        numbers_of("attention", [made()], images=[tmp_path / "missing.png"])
    reading = SimpleNamespace(backbone=SimpleNamespace(reads_text=True, name="bert"))
    texts: Any = SimpleNamespace(learner=SimpleNamespace(network=reading))
    with pytest.raises(UserError, match="attention maps are of images, and backbone 'bert' reads texts"):
        check_images(texts, 1)


def test_spread_counts_patches() -> None:
    assert effective_patches([0.1] * 5) == pytest.approx(5)
    assert effective_patches([0.3, 0.0, 0.0]) == pytest.approx(1)

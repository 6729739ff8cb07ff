"""Backbones by name: the bundled one, random ones, local files; and what is refused."""

from pathlib import Path

import pytest
import timm
import torch

from softtf.backbones import BUNDLED, BackboneSpec, load_backbone
from softtf.backbones.load import backbone_names, random_name
from softtf.errors import UserError
from softtf.store import load_tensors, save_tensors

SMALL = "random:test_vit"


def test_the_bundled_backbone_is_timms_model_on_the_bundled_weights() -> None:
    backbone = load_backbone(BackboneSpec())
    assert (backbone.name, backbone.dim, backbone.depth) == (BUNDLED, 192, 12) and backbone.preparation.size == 64
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, num_classes=0)
    file = (
        Path(str(load_backbone.__globals__["resources"].files("softtf.backbones")))
        / "bundled"
        / f"{BUNDLED}.safetensors"
    )
    vit.load_state_dict({k: v.float() for k, v in load_tensors(file).items() if not k.startswith("head")})
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vit.eval()((images - 0.5) / 0.5)
        found = backbone.pool(backbone.run(backbone.embed(images), 0, 12))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert load_backbone(BackboneSpec()).weights_hash() == backbone.weights_hash()
    unit = load_backbone(BackboneSpec(normalise="unit"))
    with torch.no_grad():
        torch.testing.assert_close(unit.embed(images * 2 - 1).x, backbone.embed(images).x, rtol=1e-4, atol=1e-4)


def test_random_weights_are_the_same_each_time_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = load_backbone(BackboneSpec(SMALL))
    assert torch.equal(torch.rand(1), expected)
    assert first.weights_hash() == load_backbone(BackboneSpec(SMALL)).weights_hash()
    assert random_name(BackboneSpec(SMALL)) and not random_name(BackboneSpec())


def test_a_local_file_is_loaded_without_its_classifier_and_one_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = load_backbone(BackboneSpec(SMALL))
    state = {k: v * 0.5 for k, v in source.vit.state_dict().items()}
    file = tmp_path / "weights.safetensors"
    save_tensors(file, state | {"head.weight": torch.zeros(9, 9)})
    found = load_backbone(BackboneSpec("test_vit", weights=file))
    for name, value in found.vit.state_dict().items():
        assert torch.equal(value, state[name])
    save_tensors(file, state | {"norm.bias": torch.zeros(3)})
    with pytest.raises(UserError, match=r"does not fit .* norm.bias has shape \(3,\)"):
        load_backbone(BackboneSpec("test_vit", weights=file))
    save_tensors(file, {k: v for k, v in state.items() if k != "norm.bias"})
    with pytest.raises(UserError, match="lacks 'norm.bias'"):
        load_backbone(BackboneSpec("test_vit", weights=file))
    save_tensors(file, state | {"extra": torch.zeros(1)})
    with pytest.raises(UserError, match="has 'extra' too many"):
        load_backbone(BackboneSpec("test_vit", weights=file))
    with pytest.raises(UserError, match="random weights and for"):
        load_backbone(BackboneSpec(SMALL, weights=file))
    with pytest.raises(UserError, match="could not read"):
        load_backbone(BackboneSpec("test_vit", weights=tmp_path / "none.safetensors"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (BackboneSpec("vit_tiny_patch8_46"), "did you mean .*vit_tiny_patch8_64"),
        (BackboneSpec("random:vit_base_patch16_242"), "unknown backbone .*did you mean .*vit_base_patch16_224"),
        (BackboneSpec("random:test_vit", image_size=50), r"image_size 50 is not a multiple.*patch size 16.* 48 and 64"),
        (BackboneSpec(image_size=60), "image_size 60 is not a multiple"),
        (BackboneSpec("random:resnet10t"), "resnet10t"),
        (BackboneSpec("random:test_efficientnet"), "test_efficientnet"),
    ],
)
def test_what_cannot_be_built_is_refused(spec: BackboneSpec, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_backbone(spec)
    assert "\n" not in str(caught.value)


def test_an_image_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="image_size"):
        BackboneSpec(image_size=0)


def test_the_list_of_names_starts_with_the_bundled_one() -> None:
    names = backbone_names()
    assert names[0] == BUNDLED and "vit_base_patch16_224.augreg_in21k" in names


@pytest.mark.parametrize("size", [32, 96])
def test_another_image_size_resamples_the_positions_as_timm_does(size: int, tmp_path: Path) -> None:
    backbone = load_backbone(BackboneSpec(image_size=size))
    original = load_backbone(BackboneSpec())
    expected = original.vit.state_dict()
    original.vit.set_input_size((size, size))
    torch.testing.assert_close(backbone.vit.pos_embed, original.vit.pos_embed)
    for name, value in backbone.vit.state_dict().items():
        assert name == "pos_embed" or torch.equal(value, expected[name])
    assert backbone.embed(torch.zeros(1, 3, size, size)).x.shape == (1, 1 + (size // 8) ** 2, 192)

"""Backbones by name: the bundled one, random ones, local files; and what is refused."""

import json
import re
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError
from timm.layers import resample_abs_pos_embed
from timm.models import save_for_hf

from softtf.backbones import BUNDLED, BackboneSpec, load_backbone
from softtf.backbones.from_timm import architecture_of, is_supported, vit_names
from softtf.backbones.load import backbone_names, load_named, random_name
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from softtf.files.tensors import load_tensors, save_tensors
from support.limits import linux, with_little_memory
from support.tiny_bert import save_model

SMALL = "random:test_vit"


def test_the_bundled_backbone_is_timms_model_on_the_bundled_weights() -> None:
    backbone = load_backbone(BackboneSpec())
    assert (backbone.name, backbone.dim, backbone.depth) == (BUNDLED, 192, 12) and backbone.preparation.size == 64
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, num_classes=0)
    file = Path(str(resources.files("softtf.backbones"))) / "bundled" / f"{BUNDLED}.safetensors"
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
    with pytest.raises(UserError, match="also has 'extra'"):
        load_backbone(BackboneSpec("test_vit", weights=file))
    with pytest.raises(UserError, match="has random weights, but weights is"):
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
        (
            BackboneSpec("vit_base_patch16_224.nope"),
            "unknown backbone .*patch16_224.nope'; did you mean 'vit_base_patch16",
        ),
        (BackboneSpec("random:vit_base_patch16_224.nope"), "unknown backbone .*did you mean"),
        (BackboneSpec("vit_tiny_patch16_224.augreg_in21"), "did you mean 'vit_tiny_patch16_224.augreg_in21k'"),
        (BackboneSpec("hf-hub:timm/vit_tiny_patch16_224.augreg_in21"), "mean 'vit_tiny_patch16_224.augreg_in21k'"),
        (
            BackboneSpec("timm/vit_base_patch16_242"),
            "unknown backbone 'timm/vit_base.*did you mean .*vit_base_patch16_224'",
        ),
        (BackboneSpec("random:vit_tiny_patch8_64"), "has its own weights; write 'vit_tiny_patch8_64'"),
        (BackboneSpec("diet_tiny_patch16_224"), "did you mean 'deit_tiny_patch16_224'"),
        (BackboneSpec("random:vit_base_patch16_siglip_224"), "pools by attention"),
    ],
)
def test_what_cannot_be_built_is_refused(spec: BackboneSpec, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_backbone(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a" * 5000, f"{'a' * 250}/{'b' * 300}", f"hf-hub:{'a' * 300}/b", "a\0b", "\ud800", ""]
)
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_named(BackboneSpec(name))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("random:vit_7b_patch16_dinov3", "not a plain Vision Transformer"),
        ("random:vit_large_patch16_224", "there is not enough memory to load the backbone"),
    ],
)
def test_the_form_of_a_model_is_checked_before_its_weights_take_memory(name: str, words: str) -> None:
    code, line = with_little_memory(2**29, lambda: load_backbone(BackboneSpec(name)))
    assert code == 2 and words in line


def test_a_model_that_the_machine_has_no_memory_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_model(tmp_path / "bert")
    monkeypatch.setattr("softtf.backbones.base.memory", lambda: 100_000)
    for name in ("random:test_vit", str(folder), f"random:{folder}"):
        with pytest.raises(UserError, match=r"the weights of backbone .* take .* GiB of memory; take a smaller one"):
            load_backbone(BackboneSpec(name, max_tokens=24 if "bert" in name else 128))


def test_a_model_of_very_many_blocks_is_refused_before_they_are_built(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "bert")
    save_for_hf(timm.create_model("test_vit"), tmp_path / "vit", safe_serialization=True)
    for file, change in (
        (folder / "config.json", {"num_hidden_layers": 10**7}),
        (tmp_path / "vit" / "config.json", {"model_args": {"depth": 10**7}}),
    ):
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(UserError, match="the model has 10,000,000 blocks; at most 256 are built"):
            load_backbone(BackboneSpec(str(file.parent)))


def test_an_image_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="image_size"):
        BackboneSpec(image_size=0)


def test_a_misspelt_name_is_answered_with_names_that_work() -> None:
    with pytest.raises(UserError) as caught:
        load_backbone(BackboneSpec("vit_base_patch16_siglip_225"))
    near = re.findall(r"'(vit[^']+)'", str(caught.value).partition("did you mean")[2])
    assert near and all(is_supported(architecture_of(name)) for name in near)


COMMIT = "0123456789" * 4


def hub(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> list[tuple[str, str, str | None]]:
    """A Hub with these files for timm; returns a list of what will be asked: repository, file and revision."""
    asked: list[tuple[str, str, str | None]] = []

    def download(repository: str, name: str, revision: str | None = None) -> str:
        asked.append((repository, name, revision))
        if name not in files:
            raise EntryNotFoundError(name)
        return str(files[name])

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def test_names_as_the_hub_writes_them_are_timms_and_the_commit_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = timm.create_model("test_vit").state_dict()
    file = tmp_path / "snapshots" / COMMIT / "model.safetensors"
    save_tensors(file, state)
    asked = hub(monkeypatch, {file.name: file})
    for name in ("test_vit.r160_in1k", "timm/test_vit.r160_in1k", "hf-hub:timm/test_vit.r160_in1k"):
        backbone = load_backbone(BackboneSpec(name))
        assert backbone.name == name and backbone.spec == BackboneSpec(name, revision=COMMIT)
        assert all(torch.equal(value, state[key]) for key, value in backbone.vit.state_dict().items())
    assert asked == [("timm/test_vit.r160_in1k", "model.safetensors", None)] * 3
    assert load_backbone(backbone.spec).spec == backbone.spec and asked[-1][2] == COMMIT
    assert load_backbone(BackboneSpec("random:timm/test_vit")).depth == backbone.depth


def test_of_what_the_hub_has_as_a_pickle_alone_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, {"pytorch_model.bin": Path("never")})
    with pytest.raises(UserError, match="has only pickles, which are never read"):
        load_backbone(BackboneSpec("test_vit.r160_in1k"))
    assert asked and all(name.endswith(".safetensors") for _, name, _ in asked)


@pytest.mark.parametrize("name", [BUNDLED, SMALL, "minilm-l6-v2", "here"])
def test_a_revision_is_of_the_hub_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    with pytest.raises(UserError, match="revision does nothing"):
        load_backbone(BackboneSpec(name, revision="main"))
    for bad in ("a\nb", "../up", "", "-x"):
        with pytest.raises(UserError, match="revision must be a commit"):
            BackboneSpec(name, revision=bad)


def test_what_timm_saved_is_loaded_with_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    vit = timm.create_model("test_vit", num_classes=5, img_size=48, pretrained_cfg_overlay=config)
    folder = tmp_path / "mine"
    save_for_hf(vit, folder, safe_serialization="both")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    found = load_backbone(BackboneSpec(str(folder)))
    assert found.preparation.size == 48 and found.vit.num_classes == 0
    assert torch.allclose(found.mean.flatten(), torch.tensor(config["mean"]))
    assert torch.allclose(found.std.flatten(), torch.tensor(config["std"]))
    for name, value in found.vit.state_dict().items():
        assert torch.equal(value, vit.state_dict()[name])
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        expected = vit.eval().forward_head(vit.forward_features((images - found.mean) / found.std), pre_logits=True)
        torch.testing.assert_close(found.pool(found.run(found.embed(images), 0, found.depth)), expected)
    whole = json.loads((folder / "config.json").read_text())
    older = {**whole, "model_args": {}, "pretrained_cfg": {**whole["pretrained_cfg"], "fixed_input_size": True}}
    older["pretrained_cfg"]["input_size"] = [3, 48, 48]
    (folder / "config.json").write_text(json.dumps(older))
    assert load_backbone(BackboneSpec(str(folder))).weights_hash() == found.weights_hash()
    assert load_backbone(BackboneSpec(str(folder), image_size=64)).preparation.size == 64
    random = load_backbone(BackboneSpec(f"random:{folder}"))
    assert random.preparation.size == 48 and not torch.equal(random.vit.pos_embed, found.vit.pos_embed)
    monkeypatch.chdir(tmp_path)
    assert load_backbone(BackboneSpec("local-dir:mine")).weights_hash() == found.weights_hash()

    def cached_file(place: str, name: str, **options: Any) -> str | None:  # the Hub
        assert place == "someone/model"
        return str(folder / name) if (folder / name).exists() else None

    monkeypatch.setattr(transformers.utils, "cached_file", cached_file)
    monkeypatch.setattr(transformers.configuration_utils, "cached_file", cached_file)
    for name in ("someone/model", "hf-hub:someone/model"):
        assert load_backbone(BackboneSpec(name)).weights_hash() == found.weights_hash()


def test_what_timm_saved_in_another_form_is_refused(tmp_path: Path) -> None:
    for options, words in (
        ({"img_size": (32, 64)}, "does not take square images"),
        ({"in_chans": 1}, "does not take square images with three channels"),
        ({"global_pool": "map"}, "pools by attention"),
    ):
        save_for_hf(timm.create_model("test_vit", **options), tmp_path, safe_serialization=True)
        with pytest.raises(UserError, match=words):
            load_backbone(BackboneSpec(str(tmp_path)))
    save_for_hf(timm.create_model("test_efficientnet"), tmp_path, safe_serialization=True)
    with pytest.raises(UserError, match="not a plain Vision Transformer"):
        load_backbone(BackboneSpec(str(tmp_path)))
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="could not be loaded.*model.safetensors") as caught:
        load_backbone(BackboneSpec(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_grid_that_is_known_is_resampled_as_it_lies_and_one_that_is_guessed_is_said(tmp_path: Path) -> None:
    """64 positions may be 8 x 8 or 4 x 16 patches."""
    vit = timm.create_model("test_vit", num_classes=0, img_size=(64, 256))
    state = vit.state_dict()
    file = tmp_path / "wide.safetensors"
    save_tensors(file, state)
    with pytest.warns(UserWarning, match=r"64 patches and does not say .* taken as 8 x 8 and resampled to 10 x 10"):
        load_backbone(BackboneSpec("test_vit", weights=file))
    save_for_hf(vit, tmp_path / "wide", safe_serialization=True)
    expected = resample_abs_pos_embed(state["pos_embed"], [8, 8], [4, 16], num_prefix_tokens=1)
    found = load_backbone(BackboneSpec(str(tmp_path / "wide"), image_size=128))
    torch.testing.assert_close(found.vit.pos_embed, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone(BackboneSpec(image_size=96))  # the bundled one's grid is known


def test_weights_may_be_named_by_a_string(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_tensors(file, load_backbone(BackboneSpec(SMALL)).vit.state_dict())
    spec = BackboneSpec("test_vit", weights=str(file))
    assert spec == BackboneSpec("test_vit", weights=file) and isinstance(spec.weights, Path)
    assert load_backbone(spec).weights_hash() == load_backbone(BackboneSpec(SMALL)).weights_hash()
    with pytest.raises(UserError, match="weights must be a path or null, not 3"):
        BackboneSpec(weights=3)


def test_the_list_of_names_starts_with_the_bundled_one_and_holds_what_works() -> None:
    names = backbone_names()
    assert names[0] == BUNDLED and "vit_base_patch16_224.orig_in21k" in names
    architectures = {name.partition(".")[0] for name in names}
    assert {"deit_tiny_patch16_224", "deit3_small_patch16_224", "flexivit_small"} <= architectures
    assert (
        not {"vit_base_patch16_siglip_224", "deit_tiny_distilled_patch16_224", "aimv2_1b_patch14_224"} & architectures
    )
    assert "vit_so400m_patch14_siglip_gap_384" not in architectures, "its own images are not whole patches"
    assert all(timm.get_pretrained_cfg(name).hf_hub_id for name in names if architecture_of(name) and "." in name)
    assert len(names) == len(set(names)) > 250


def family(vit: Any) -> tuple[Any, ...]:
    """What of a model's form `TimmViT` could get wrong."""
    block = vit.blocks[0]
    parts = (
        vit.patch_embed,
        vit.norm_pre,
        vit.norm,
        vit.fc_norm,
        block.norm1,
        block.ls1,
        block.attn.q_norm,
        block.mlp.act,
    )
    flags = (vit.global_pool, vit.num_prefix_tokens, vit.no_embed_class, vit.pos_embed is None, vit.cls_token is None)
    biases = (block.attn.qkv.bias is None, block.mlp.fc1.bias is None, vit.pool_include_prefix)
    return tuple(type(part).__name__ for part in parts) + flags + biases


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_one_of_each_family_that_is_listed_gives_timms_features() -> None:
    families: dict[tuple[Any, ...], str] = {}
    for name in sorted({architecture_of(name) for name in vit_names()}, key=len):
        if is_supported(name):
            with torch.device("meta"):
                vit = timm.create_model(name, num_classes=0, depth=1)
            families.setdefault(family(vit), name)
    assert len(families) > 10
    for name in families.values():
        vit = timm.create_model(name, num_classes=0, depth=2, img_size=224)  # every patch size divides it
        for parameter in vit.parameters():
            torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.02)
        backbone = TimmViT(vit, name, (0.4,) * 3, (0.3,) * 3)
        images = torch.rand(1, 3, backbone.image_size, backbone.image_size)
        with torch.no_grad():
            expected = vit.forward_head(vit.forward_features((images - 0.4) / 0.3), pre_logits=True)
            found = backbone.pool(backbone.run(backbone.embed(images), 0, 2))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


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


def test_a_spec_is_located_by_full_paths_of_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_for_hf(timm.create_model("test_vit"), tmp_path / "mine", safe_serialization=True)
    (tmp_path / BUNDLED).mkdir()
    monkeypatch.chdir(tmp_path)
    for place in ("", "local-dir:", "random:", "random:local-dir:"):
        assert BackboneSpec(f"{place}mine").located() == BackboneSpec(f"{place}{tmp_path}/mine")
    for name in (BUNDLED, "minilm-l6-v2", "vit_base_patch16_224", "someone/model"):
        assert BackboneSpec(name).located() == BackboneSpec(name)
    weights = BackboneSpec(SMALL, weights=Path("w.safetensors")).located().weights
    assert weights == tmp_path / "w.safetensors"
    backbone = load_backbone(BackboneSpec("mine"))
    monkeypatch.chdir("/")
    assert backbone.spec is not None
    assert load_backbone(backbone.spec).weights_hash() == backbone.weights_hash()


def test_timms_older_form_in_one_level_is_loaded(tmp_path: Path) -> None:
    vit = timm.create_model("test_vit", num_classes=5, pretrained_cfg_overlay={"mean": [0.1, 0.2, 0.3]})
    save_for_hf(vit, tmp_path, safe_serialization=True)
    found = load_backbone(BackboneSpec(str(tmp_path)))
    whole = json.loads((tmp_path / "config.json").read_text())
    flat = {"architecture": whole["architecture"], "num_classes": 5, **whole["pretrained_cfg"]}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    older = load_backbone(BackboneSpec(str(tmp_path)))
    assert older.weights_hash() == found.weights_hash() and torch.equal(older.mean, found.mean)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"pretrained_cfg": {"mean": None}}, "mean must be three numbers, not None"),
        ({"pretrained_cfg": {"mean": 0.5}}, "mean must be three numbers, not 0.5"),
        ({"pretrained_cfg": {"std": [0, 1, 1]}}, "std must be three positive numbers"),
        ({"pretrained_cfg": {"input_size": 32}}, "input_size must be three positive numbers, not 32"),
        ({"pretrained_cfg": None}, "not an object with names"),
        ({"model_args": [1]}, "not an object with names"),
    ],
)
def test_a_malformed_config_of_timm_is_refused_in_one_line(part: dict[str, Any], words: str, tmp_path: Path) -> None:
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    whole = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**whole, **part}))
    with pytest.raises(UserError, match=words) as caught:
        load_backbone(BackboneSpec(str(tmp_path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["32", 32.0, True])
def test_a_number_of_another_kind_is_refused(value: Any) -> None:
    for name in ("image_size", "max_tokens"):
        with pytest.raises(UserError, match=f"{name} must be an integer.*, not {value!r}"):
            BackboneSpec(SMALL, **{name: value})


def test_a_folder_that_is_missing_or_holds_no_model_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may have the name of a model that timm knows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_vit").mkdir()
    for name in ("test_vit", str(tmp_path), f"local-dir:{tmp_path}", f"random:{tmp_path}"):
        with pytest.raises(UserError, match="has no config.json; give the folder of a model"):
            load_backbone(BackboneSpec(name))
    for name in ("./nowhere", "/no/where", "~/nowhere", "local-dir:no/where"):
        with pytest.raises(UserError, match=f"backbone '{name}': there is no folder"):
            load_backbone(BackboneSpec(name))

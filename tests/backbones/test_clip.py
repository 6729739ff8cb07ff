"""ClipImage and ClipText are transformers' own CLIPModel; prompts, masks and prefixes go where they belong."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations import Compose, LoRA, SoftMask
from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.base import BlockEdit
from softtf.backbones.clip import ClipImage, ClipTower, byte_ids
from softtf.backbones.clip_settings import CLIP_MEAN, CLIP_STD, image_settings
from softtf.backbones.load import backbone_names
from softtf.errors import UserError
from softtf.files.tensors import save_tensors
from softtf.network import AdaptedNetwork
from support.clip_script import script
from support.tiny import MEAN, STD, inputs, noise, tiny_clip, tiny_clip_model

TEXTS = ["a photo of a cat.", "dog", "", "a very long text of 33 bytes, yes"]


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN).view(3, 1, 1).to(x)) / torch.tensor(STD).view(3, 1, 1).to(x)


def features(tower: ClipTower, x: Tensor, *prompts: Tensor) -> Tensor:
    return tower.pool(tower.run(tower.embed(x, *prompts), 0, tower.depth))


def cosines(backbone: ClipImage, images: Tensor, texts: Tensor) -> Tensor:
    image, text = (
        F.normalize(tower.project(features(tower, x)), dim=-1)
        for tower, x in ((backbone, images), (backbone.text, texts))
    )
    return backbone.logit_scale.exp() * image @ text.T


def adapted(tower: ClipTower, x: Tensor) -> Tensor:
    """Features with masks of ones and increments of zero on every weight."""
    parts = Compose((SoftMask("all", "w/ FF"), LoRA("all", 2, targets="qkv,proj,fc1,fc2"))).build(tower)
    for part in parts:
        part.add_task(2, torch.Generator())
        part.double()
    network = AdaptedNetwork(tower, parts)
    return network.top(network.trunk(network.stem(x)), task=0)


def test_logits_equal_transformers_own() -> None:
    backbone, model, x = tiny_clip(), tiny_clip_model().double(), inputs(5, 1)
    ids = backbone.text.ids(TEXTS)
    own = model(input_ids=ids, pixel_values=normalised(x)).logits_per_image
    torch.testing.assert_close(cosines(backbone, x, ids), own, rtol=0, atol=1e-9)
    assert own.std() > 0.1
    short = ClipImage(tiny_clip_model(), partial(byte_ids, start=256, end=257), "tiny", MEAN, STD)
    in_float32 = tiny_clip_model()(input_ids=ids, pixel_values=normalised(x.float())).logits_per_image
    torch.testing.assert_close(cosines(short, x.float(), ids), in_float32, rtol=0, atol=1e-5)


def test_masks_of_ones_and_prompts_of_no_length_change_nothing() -> None:
    backbone, x = tiny_clip(), inputs(3, 1)
    ids = backbone.text.ids(TEXTS)
    torch.testing.assert_close(adapted(backbone, x), features(backbone, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(adapted(backbone.text, ids), features(backbone.text, ids), rtol=0, atol=1e-12)
    none = torch.zeros(len(TEXTS), 0, backbone.text.dim)
    assert torch.equal(features(backbone.text, ids, none), features(backbone.text, ids))
    tokens = backbone.embed(x)
    behind = backbone.run(tokens.append(torch.zeros(3, 0, backbone.dim)), 0, backbone.depth)
    assert torch.equal(backbone.pool(behind), features(backbone, x))


def test_text_prompts_stand_behind_the_start_token_and_the_end_token_is_read() -> None:
    """Against transformers' blocks run one by one on the sequence as it should be, a text at a time."""
    backbone, model = tiny_clip(), tiny_clip_model().double().text_model
    prompts = noise(len(TEXTS), 3, backbone.text.dim)
    found = features(backbone.text, backbone.text.ids(TEXTS), prompts)
    for text, prompt, feature in zip(TEXTS, prompts, found, strict=True):
        start, *words, end = backbone.text.tokenize([text])[0]
        embedded = model.embeddings.token_embedding(torch.tensor([start, *words, end]))
        sequence = torch.cat([embedded[:1], prompt, embedded[1:-1], embedded[-1:]])
        hidden = (sequence + model.embeddings.position_embedding.weight[: len(sequence)])[None]
        forbidden = torch.full((len(sequence), len(sequence)), -torch.inf, dtype=torch.float64).triu(1)
        for layer in model.encoder.layers:
            hidden = layer(hidden, attention_mask=forbidden)
        torch.testing.assert_close(feature, model.final_layer_norm(hidden[0, -1]), rtol=0, atol=1e-9)


def test_an_image_prompt_leaves_class_the_token_that_is_read() -> None:
    backbone, model, x = tiny_clip(), tiny_clip_model().double().vision_model, inputs(3, 1)
    prompt = noise(3, 2, backbone.dim)
    found = backbone.pool(backbone.run(backbone.embed(x).append(prompt), 0, backbone.depth))
    hidden = torch.cat([model.pre_layrnorm(model.embeddings(normalised(x))), prompt], 1)
    hidden = model.encoder(inputs_embeds=hidden).last_hidden_state
    torch.testing.assert_close(found, model.post_layernorm(hidden[:, 0]), rtol=0, atol=1e-9)


def test_a_prefix_is_met_by_every_token_of_a_text() -> None:
    """A prefix of keys that outshine all others and of one value: what attention adds is then that value."""
    text = tiny_clip().text
    tokens = text.embed(text.ids(TEXTS))
    prefix = torch.zeros(1, 2, 1, text.dim, dtype=torch.float64)
    changed = text.block(1, tokens, BlockEdit(prefix=prefix)).x - text.block(1, tokens).x
    assert (changed.abs().amax(2) > 1e-6).all()


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    text = tiny_clip().text
    together = features(text, text.ids(TEXTS))
    for one, feature in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(features(text, text.ids([one]))[0], feature, rtol=0, atol=1e-9)


def test_a_configuration_of_before_the_correction_reads_the_largest_id() -> None:
    model = tiny_clip_model().double()
    model.text_model.config.eos_token_id = model.text_model.eos_token_id = 2
    backbone = ClipImage(model, partial(byte_ids, start=256, end=257), "old", MEAN, STD).double()
    backbone.text.compute_dtype = torch.float64
    ids = backbone.text.ids(["a\x02b", "c"])
    torch.testing.assert_close(
        features(backbone.text, ids), model.text_model(input_ids=ids).pooler_output, rtol=0, atol=1e-9
    )


def test_a_text_that_is_too_long_is_refused() -> None:
    text = tiny_clip().text
    assert text.ids(["x" * 38]).shape == (1, 40)
    with pytest.raises(UserError, match=r"'xxx.* has 40 tokens and its prompt 1; .* reads 40 at most"):
        text.ids(["x" * 38], prompts=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP as transformers saves one."""
    place = tmp_path_factory.mktemp("clip")
    tokenizer = script.tokenizer_of(place)
    tiny_clip_model(vocabulary=len(tokenizer)).save_pretrained(place)
    settings = {"image_mean": MEAN, "image_std": STD, "size": {"shortest_edge": 18}}
    (place / "preprocessor_config.json").write_text(json.dumps(settings))
    return place


def test_a_folder_is_loaded_with_its_tokenizer_and_preparation(folder: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    backbone = load_backbone(BackboneSpec(str(folder)))
    assert isinstance(backbone, ClipImage) and not any(p.requires_grad for p in backbone.parameters())
    assert (backbone.dim, backbone.depth, backbone.preparation.size, backbone.preparation.resize) == (32, 4, 16, 18)
    tokens = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    images = inputs(2, 1).float()
    own = CLIPModel.from_pretrained(folder)(**tokens, pixel_values=normalised(images)).logits_per_image
    torch.testing.assert_close(cosines(backbone, images, backbone.text.ids(TEXTS)), own, rtol=0, atol=1e-5)
    unit = load_backbone(BackboneSpec(str(folder), normalise="unit"))
    assert isinstance(unit, ClipImage) and torch.equal(unit.embed(normalised(images)).x, backbone.embed(images).x)
    other = load_backbone(BackboneSpec(f"random:{folder}"))
    assert other.weights_hash() != backbone.weights_hash()
    assert other.weights_hash() == load_backbone(BackboneSpec(f"random:{folder}")).weights_hash()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 32}, "takes images of 16 pixels, not 32"),
        ({"max_tokens": 20}, "max_tokens does nothing"),
        ({"pooling": "mean"}, "pooling does nothing"),
        ({"weights": Path("x")}, "weights does nothing"),
    ],
)
def test_settings_that_a_clip_does_not_have_are_refused(folder: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_backbone(BackboneSpec(str(folder), **settings))


@pytest.mark.parametrize("missing", ["preprocessor_config.json", "model.safetensors", "a weight"])
def test_a_folder_that_is_not_whole_is_refused(folder: Path, missing: str, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    if missing == "a weight":
        state = tiny_clip_model(vocabulary=514).state_dict()
        save_tensors(
            tmp_path / "model.safetensors", {k: v for k, v in state.items() if k != "visual_projection.weight"}
        )
    with pytest.raises(UserError, match="preprocessor_config|safetensors|lack 'visual_projection.weight'") as caught:
        load_backbone(BackboneSpec(str(tmp_path)))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_clips_are_listed_and_unknown_random_ones_refused() -> None:
    assert "openai/clip-vit-base-patch16" in backbone_names()
    with pytest.raises(UserError, match="openai/clip-vit-base-patch16"):
        load_backbone(BackboneSpec("random:openai/clip-vit-large-patch14"))


SETTINGS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "size": {"shortest_edge": 20}}


def test_an_image_processors_settings_are_read() -> None:
    assert image_settings(SETTINGS, 16, "c") == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 20)
    assert image_settings({}, 16, "c") == (CLIP_MEAN, CLIP_STD, 16)
    assert image_settings({"do_normalize": False, "size": 16}, 16, "c") == ((0.0,) * 3, (1.0,) * 3, 16)
    assert (
        image_settings({"size": {"height": 18, "width": 18}, "crop_size": {"height": 16, "width": 16}}, 16, "c")[2]
        == 18
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_mean": None}, "image_mean must be three numbers, not None"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_std": [0, 0, 0]}, "positive"),
        ({"size": "big"}, "size must be a number of pixels, not 'big'"),
        ({"size": {"height": 20, "width": 30}}, "size must be a number"),
        ({"size": 8}, "does not fit images of 16"),
        ({"crop_size": 8}, "does not fit images of 16"),
        ({"do_center_crop": False}, "do_center_crop=False"),
        ({"resample": 2}, "resample=2"),
    ],
)
def test_an_image_processors_settings_that_are_not_done_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        image_settings({**SETTINGS, **change}, 16, "c")
    with pytest.raises(UserError, match="must be an object with names"):
        image_settings([1, 2], 16, "c")


def test_the_end_token_is_the_tokenizers_whatever_the_configuration_says() -> None:
    model = tiny_clip_model()
    right = ClipImage(model, partial(byte_ids, start=256, end=257), "tiny", MEAN, STD)
    texts = features(right.text, right.text.ids(TEXTS))
    for wrong in (2, 999, None):
        model.text_model.config.eos_token_id = wrong
        other = ClipImage(model, partial(byte_ids, start=256, end=257), "tiny", MEAN, STD).text
        assert torch.equal(features(other, other.ids(TEXTS)), texts)


@pytest.mark.parametrize(
    ("text", "words"),
    [("x" * 60, "62 tokens"), ("caf\udce9", "not UTF-8"), ("a\x00b", "contains the model's end token")],
)
def test_texts_that_cannot_be_read_are_refused(text: str, words: str) -> None:
    def tokenize(texts: list[str]) -> list[list[int]]:
        return [[256, *(257 if byte == 0 else byte for byte in t.encode()), 257] for t in texts]

    tower = ClipImage(tiny_clip_model(), tokenize, "tiny", MEAN, STD).text
    with pytest.raises(UserError, match=words):
        tower.ids(["fine", text])


def test_a_tokenizer_without_marks_is_refused(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "clip")
    whole = json.loads((place / "tokenizer.json").read_text())
    (place / "tokenizer.json").write_text(json.dumps(whole | {"post_processor": None}))
    settings = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(UserError, match="a start and an end token round each text"):
        load_backbone(BackboneSpec(str(place)))

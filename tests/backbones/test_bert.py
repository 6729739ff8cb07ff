"""Bert is transformers' own forward for every family; padding changes nothing; prefixes are seen by all."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.base import Backbone, BlockEdit, Tokens
from softtf.backbones.bert import Bert
from softtf.backbones.feature_store import FeatureStore
from softtf.backbones.features import fixed_queries
from softtf.backbones.from_transformers import offline_folder
from softtf.errors import UserError
from softtf.streams import Examples, Loader, TextPreparation
from softtf.streams.texts import PAD
from support.tiny import noise
from support.tiny_bert import (
    FAMILIES,
    SIZES,
    byte_tokenizer,
    model_of,
    noisy,
    save_model,
    texts,
    tiny_bert,
    token_ids,
)


def preparation(max_tokens: int = 24) -> TextPreparation:
    return TextPreparation(byte_tokenizer(), max_tokens)


def own(model: Any, ids: Tensor) -> Tensor:
    """transformers' last hidden states [batch, tokens, dim]."""
    real = ids != PAD
    pad = model.config.pad_token_id or 0
    with torch.no_grad():
        return model(input_ids=ids.where(real, pad), attention_mask=real.long()).last_hidden_state


def features(backbone: Backbone, ids: Tensor) -> Tensor:
    return backbone.pool(backbone.run(backbone.embed(ids), 0, backbone.depth))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_equals_transformers_own_forward_in_float32(family: str, pooling: Any) -> None:
    model, ids = model_of(family), token_ids(6)
    hidden = own(model, ids)
    real = (ids != PAD)[..., None]
    expected = hidden[:, 0] if pooling == "cls" else (hidden * real).sum(1) / real.sum(1)
    found = features(Bert(model, family, preparation(), pooling), ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.shape == (6, 32) and found.std() > 0.1


def test_the_pooler_is_the_models() -> None:
    model, ids = noisy(transformers.BertModel(transformers.BertConfig(**SIZES))).eval(), token_ids(5)
    found = features(Bert(model, "tiny", preparation(), "pooler"), ids)
    torch.testing.assert_close(found, model.pooler(own(model, ids)), rtol=0, atol=1e-5)


def test_the_offline_encoder_equals_transformers_and_pools_as_it_was_trained() -> None:
    backbone = load_backbone(BackboneSpec("minilm-l6-v2"))
    model = transformers.AutoModel.from_pretrained(offline_folder()).eval()
    found = ["", "a short one", "מילים עם 🙂 and more words than the others have, by far"]
    ids = backbone.preparation.batch([backbone.preparation.load_test(t, "t") for t in found], "cpu")
    real = (ids != PAD)[..., None]
    expected = (own(model, ids) * real).sum(1) / real.sum(1)
    torch.testing.assert_close(features(backbone, ids), expected, rtol=0, atol=1e-5)
    assert (backbone.dim, backbone.depth, backbone.pooling) == (384, 6, "mean")  # type: ignore[attr-defined]
    assert load_backbone(BackboneSpec("minilm-l6-v2", pooling="cls")).pooling == "cls"  # type: ignore[attr-defined]


@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean"])
def test_what_is_behind_a_text_changes_nothing(pooling: Any) -> None:
    backbone, ids = tiny_bert(pooling), token_ids(7)
    together = features(backbone, ids)
    for row, text in enumerate(ids):
        alone = features(backbone, text[text != PAD][None])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-12)
    junk = torch.cat([ids, torch.full((7, 20), PAD)], 1)
    torch.testing.assert_close(features(backbone, junk), together, rtol=0, atol=1e-12)


def test_prefixes_are_never_masked_and_come_before_masked_keys() -> None:
    backbone, ids = tiny_bert(), token_ids(4)
    prefix = noise(4, 2, 3, 32)

    def after(rows: Tensor, own_prefix: Tensor) -> Tensor:
        tokens = backbone.embed(rows)
        for block in range(4):
            tokens = backbone.block(block, tokens, BlockEdit(prefix=own_prefix))
        return backbone.pool(tokens)

    together = after(ids, prefix)
    for row, text in enumerate(ids):
        alone = after(text[text != PAD][None], prefix[row][None])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-12)
    changed = prefix.clone()
    changed[:, 1, -1] += 1.0
    assert ((after(ids, changed) - together).abs().amax(1) > 1e-4).all()


def test_prompts_before_the_tokens_are_read_in_place_of_the_first_token() -> None:
    for pooling in ("cls", "mean"):
        backbone, ids, prompts = tiny_bert(pooling), token_ids(4), noise(4, 3, 32)
        tokens = backbone.run(backbone.embed(ids).prepend(prompts), 0, 4)
        assert tokens.x.shape == (4, 3, 32)
        torch.testing.assert_close(backbone.pool(tokens), tokens.x.mean(1))


def test_batches_of_other_lengths_are_joined_as_if_padded_together() -> None:
    backbone, ids = tiny_bert("mean"), token_ids(6)
    short, long = backbone.embed(ids[1:3, :5]), backbone.embed(ids[:1])
    joined = Tokens.cat([short, long])
    assert joined.x.shape[:2] == joined.mask.shape == (3, 12)
    expected = features(backbone, torch.cat([ids[1:3], ids[:1]]))
    torch.testing.assert_close(backbone.pool(backbone.run(joined, 0, 4)), expected, rtol=0, atol=1e-12)
    ends = [backbone.run(tokens, 0, 4) for tokens in (short, long)]
    torch.testing.assert_close(backbone.pool(Tokens.cat(ends)), expected, rtol=0, atol=1e-12)


def test_bfloat16_products_stay_close() -> None:
    backbone, ids = tiny_bert().float(), token_ids(5)
    backbone.compute_dtype = torch.float32
    exact = features(backbone, ids)
    backbone.compute_dtype = torch.bfloat16
    rounded = features(backbone, ids)
    assert rounded.dtype == torch.float32 and 0 < (rounded - exact).norm() < 0.1 * exact.norm()


def test_a_local_folder_is_a_name_and_random_weights_can_be_asked_for(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine", "roberta")
    backbone = load_backbone(BackboneSpec(str(folder), max_tokens=20))
    ids = token_ids(3)
    torch.testing.assert_close(features(backbone, ids), own(model_of("roberta"), ids)[:, 0], rtol=0, atol=1e-5)
    assert backbone.weights_hash() == load_backbone(BackboneSpec(str(folder), max_tokens=20)).weights_hash()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    random = [load_backbone(BackboneSpec(f"random:{folder}", max_tokens=20)) for _ in range(2)]
    assert torch.equal(torch.rand(1), expected)
    assert random[0].weights_hash() == random[1].weights_hash() != backbone.weights_hash()


@pytest.mark.parametrize(
    ("changes", "spec", "words"),
    [
        ({}, {"max_tokens": 41}, "takes at most 40 tokens; max_tokens is 41"),
        ({}, {"image_size": 32}, "image_size does nothing for backbone"),
        ({}, {"normalise": "unit"}, "normalise does nothing"),
        ({}, {"weights": Path("x")}, "weights does nothing"),
        ({"is_decoder": True}, {}, "is a decoder"),
        ({"position_embedding_type": "relative_key"}, {}, "has 'relative_key' positions"),
        ({"model_type": "gpt2"}, {}, "is a 'gpt2' model; softtf knows bert, roberta"),
    ],
)
def test_what_would_be_computed_wrongly_or_ignored_is_refused(
    tmp_path: Path, changes: dict, spec: dict, words: str
) -> None:
    save_model(tmp_path)
    if changes:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=words) as caught:
        load_backbone(BackboneSpec(str(tmp_path), **({"max_tokens": 20} | spec)))
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_or_with_others_is_refused_in_one_line(tmp_path: Path) -> None:
    save_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="could not be loaded") as caught:
        load_backbone(BackboneSpec(str(tmp_path), max_tokens=20))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no pooling layer"):
        load_backbone(BackboneSpec(str(save_model(tmp_path / "d", "distilbert")), max_tokens=20, pooling="pooler"))
    with pytest.raises(UserError, match="unknown backbone 'bert-base-uncase'; did you mean 'bert-base-uncased'"):
        load_backbone(BackboneSpec("bert-base-uncase"))
    with pytest.raises(UserError, match="max_tokens does nothing for backbone 'vit_tiny_patch8_64'"):
        load_backbone(BackboneSpec(max_tokens=64))


def test_features_of_texts_are_kept_on_disk_under_a_name_of_tokenizer_and_length(tmp_path: Path) -> None:
    rows = Examples(list(texts(9, 3)), [0] * 9, "texts")

    def kept(backbone: Bert, examples: Examples = rows) -> Tensor:
        store = FeatureStore(tmp_path, backbone.weights_hash(), lambda note: pytest.fail(note))
        loader = Loader(examples, torch.zeros(9, dtype=torch.int64), backbone.preparation, False, 2, "cpu")
        return fixed_queries(backbone, loader, store).values

    first = kept(tiny_bert())
    assert torch.equal(kept(tiny_bert()), first) and len(list(tmp_path.iterdir())) == 1
    for other in (tiny_bert(max_tokens=20), tiny_bert("mean")):
        kept(other)
    kept(tiny_bert(), Examples([*texts(8, 3), "another"], [0] * 9, "texts"))
    assert len(list(tmp_path.iterdir())) == 4


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "tiny")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<extra {i}>" for i in range(SIZES["vocab_size"])])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match="its tokenizer has token"):
        load_backbone(BackboneSpec(str(folder), max_tokens=20))

"""Texts become token ids: any text, cut and padded; what is no text is refused."""

import copy
import json
import pickle

import pytest
import torch
from tokenizers import Tokenizer
from torch.testing import assert_close

from softtf.backbones import BackboneSpec, load_backbone
from softtf.errors import UserError
from softtf.streams import Examples, Loader, TextPreparation, join
from softtf.streams.texts import PAD
from support.tiny_bert import byte_tokenizer

PREPARATION = TextPreparation(byte_tokenizer(), 10)
ANY = [
    "",
    "a",
    "word " * 10_000,
    "🙂🙃",
    "nul\0byte",
    "שלום مرحبا",
    "[PAD] [CLS] \u200f\ufeff",
    "line\nend\r\n",
    "汉字",
]


@pytest.mark.parametrize("text", ANY)
def test_any_text_goes_through_the_offline_encoder_alone_as_with_others(text: str) -> None:
    backbone = load_backbone(BackboneSpec("minilm-l6-v2", max_tokens=32))
    preparation = backbone.preparation
    loaded = [preparation.load_test(t, "t") for t in (text, "one of a few words more than that")]
    assert 2 <= len(loaded[0]) <= 32 and loaded[0].dtype == torch.int32
    alone, both = preparation.batch(loaded[:1], "cpu"), preparation.batch(loaded, "cpu")
    found = [backbone.pool(backbone.run(backbone.embed(ids), 0, 6))[0] for ids in (alone, both)]
    assert_close(found[0], found[1], rtol=0, atol=1e-5)
    assert found[0].isfinite().all()


def test_texts_are_cut_within_their_marks_and_padded_to_the_longest() -> None:
    loaded = [PREPARATION.load_train(text, "t") for text in ("abc", "", "a" * 50)]
    assert [len(ids) for ids in loaded] == [5, 2, 10]
    assert loaded[2][0] == 1 and loaded[2][-1] == 2
    batch = PREPARATION.batch(loaded, "cpu")
    assert batch.dtype == torch.int64 and batch.shape == (3, 10)
    assert (batch[0, 5:] == PAD).all() and (batch[1, 2:] == PAD).all() and (batch[2] != PAD).all()
    assert torch.equal(PREPARATION.augment_batch(loaded, "cpu", torch.Generator()), batch)
    assert torch.equal(PREPARATION.batch(torch.stack([loaded[0]] * 2), "cpu"), batch[[0, 0], :5])


def test_a_loader_gives_batches_as_long_as_their_longest_and_inputs_as_long_as_all() -> None:
    rows = ["abc", "", "abcdef", "a"]
    loader = Loader(Examples(rows, [0] * 4), torch.zeros(4, dtype=torch.int64), PREPARATION, False, 2, "cpu")
    for _ in range(2):  # the second time from the cache
        assert [b.shape[1] for b in loader.batches()] == [5, 8]
        assert_close(loader.inputs(range(4)), PREPARATION.batch([PREPARATION.load_test(t, "") for t in rows], "cpu"))


def test_a_text_without_any_token_is_token_0() -> None:
    """A tokenizer that sets no marks gives none for an empty text."""
    bare = Tokenizer.from_str(json.dumps(json.loads(byte_tokenizer().to_str()) | {"post_processor": None}))
    preparation = TextPreparation(bare, 9)
    loaded = [preparation.load_test(text, "") for text in ("", "ab")]
    assert loaded[0].tolist() == [0] and len(loaded[1]) == 2
    assert preparation.batch(loaded, "cpu").tolist()[0] == [0, -1]


def test_join_pads_texts_and_only_stacks_other_inputs() -> None:
    one, two = torch.tensor([[1, 2]]), torch.tensor([[3, 4, 5]])
    assert join([one, two]).tolist() == [[1, 2, PAD], [3, 4, 5]]
    images = [torch.rand(2, 3, 4, 4), torch.rand(1, 3, 4, 4)]
    assert torch.equal(join(images), torch.cat(images))


def test_the_fingerprint_names_the_vocabulary_and_the_length_only() -> None:
    used = TextPreparation(byte_tokenizer(), 10)
    used.load_train("abc", "t")
    same = [PREPARATION, used, copy.deepcopy(used), pickle.loads(pickle.dumps(used))]
    assert len({p.fingerprint for p in same}) == 1
    smaller = byte_tokenizer()
    smaller.add_tokens(["abc"])
    others = [TextPreparation(byte_tokenizer(), 11), TextPreparation(smaller, 10)]
    assert len({p.fingerprint for p in [PREPARATION, *others]}) == 3


def test_texts_that_no_tokenizer_takes_have_fingerprints_all_the_same() -> None:
    found = {Examples([text], [0]).fingerprint() for text in ("\ud800", "\ud801", "", "nul\0")}
    assert len(found) == 4


@pytest.mark.parametrize(("raw", "words"), [(3, "not int"), (None, "not NoneType"), ("\ud800", "lone surrogate")])
def test_what_is_no_text_is_refused_by_row(raw: object, words: str) -> None:
    with pytest.raises(UserError, match=rf"data\[7\].*{words}"):
        PREPARATION.load_train(raw, "data[7]")

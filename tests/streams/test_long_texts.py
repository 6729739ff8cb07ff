"""Of a long text only the beginning is tokenised, and the tokens are those of the whole text."""

import tracemalloc
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from softtf.backbones import BackboneSpec, load_backbone
from softtf.errors import UserError
from softtf.streams import TextPreparation, texts
from support.tiny_bert import byte_tokenizer

CORPUS = ["the theatre's other weather, gather! leather 1234 don't; naïve Ångström ΣΑΣ ﬁne 汉字 مرحبا"] * 9
PIECES = [
    *(
        "the",
        "weather",
        " ",
        "  ",
        "\n",
        "\t \r\n",
        "\u00a0",
        "\u3000",
        "\u2028",
        "don't",
        "'",
        "'s",
        "!",
        "...",
        "1234",
    ),
    *(
        "汉字",
        "汉",
        "e\u0301",
        "\u0301",
        "\u0327\u0301",
        "ﬁ",
        "ΣΑΣ",
        "İ",
        "🙂",
        "👩\u200d👩\u200d👧",
        "مرحبا",
        "\u200f",
        "\ufeff",
    ),
    *(
        "\0",
        "\x1f",
        "\x85",
        "\ufffd",
        "[SEP]",
        "[CLS",
        "]",
        "</s>",
        "▁",
        "##er",
        "a" * 99,
        "a" * 101,
        "é" * 40,
        "q",
        "zz",
    ),
]


def bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2's, with its pattern
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=80, special_tokens=["</s>"], unk_token="?")
    )
    return tokenizer


def wordpiece() -> Tokenizer:
    return load_backbone(BackboneSpec("minilm-l6-v2")).preparation.tokenizer


@cache
def made(kind: Any) -> Tokenizer:
    return kind()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [wordpiece, bpe, unigram, byte_tokenizer])
@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=120), size=st.integers(4, 20), first=st.integers(1, 5))
def test_the_tokens_kept_are_those_of_the_whole_text(kind: Any, pieces: list[str], size: int, first: int) -> None:
    text = "".join(pieces)
    preparation = TextPreparation(Tokenizer.from_str(made(kind).to_str()), size)
    whole = preparation.tokenizer.encode(text).ids or [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "CHARACTERS", first)  # so that most texts are cut, and some more than once
        assert preparation.load_test(text, "t").tolist() == whole


@pytest.mark.parametrize("kind", [wordpiece, bpe, unigram])
def test_a_long_text_of_words_is_read_in_its_beginning_alone(kind: Any) -> None:
    class Counting:
        def __init__(self, tokenizer: Tokenizer) -> None:
            self.tokenizer, self.read = tokenizer, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tokenizer, name)

        def encode(self, text: str) -> Any:
            self.read += len(text)
            return self.tokenizer.encode(text)

    preparation = TextPreparation(counting := Counting(made(kind)), 128)
    for text in ("the weather! " * 10**6, "!? " * 10**6, "\n".join(CORPUS) * 10**4):
        counting.read = 0
        assert len(preparation.load_test(text, "t")) == 128
        assert counting.read <= 16 * 128 * (1 + 8)


@pytest.mark.parametrize("text", ["a" * 10**7, " " * 10**7, "\0" * 10**7])
def test_what_is_no_text_of_words_is_refused_before_it_is_tokenised_whole(text: str) -> None:
    preparation = TextPreparation(made(wordpiece), 128)
    tracemalloc.start()
    try:
        with pytest.raises(
            UserError, match=r"^rows\[3\]: the text has 10,000,000 characters, and the first 1,048,576 hold"
        ):
            preparation.load_test(text, "rows[3]")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()

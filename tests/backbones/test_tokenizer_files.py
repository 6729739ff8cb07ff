"""A tokenizer's files come from anybody: none ends the process, answers at random, or raises anything but UserError."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.tokenizer_files import GROWTH, STEPS, check_tokenizer
from softtf.errors import UserError
from support.guards import bounded
from support.tiny_bert import MARKS, save_model

Change = Callable[[dict[str, Any]], object]
CLS = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


def edit(file: Path, change: Change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def normalizers(*steps: dict[str, Any]) -> Change:
    return lambda whole: whole.update(normalizer={"type": "Sequence", "normalizers": list(steps)})


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(regex: str) -> Change:
    return normal_part(
        "pre_tokenizer", {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    )


def normal_part(name: str, value: Any) -> Change:
    return lambda whole: whole.update({name: value})


def template(*single: dict[str, Any], mark: int = 1) -> Change:
    special = {"[CLS]": {"id": "[CLS]", "ids": [mark], "tokens": ["[CLS]"]}}
    parts = {"single": list(single), "pair": list(single), "special_tokens": special}
    return normal_part("post_processor", {"type": "TemplateProcessing", **parts})


def nested(depth: int) -> Change:
    step: dict[str, Any] = {"type": "Whitespace"}
    for _ in range(depth):
        step = {"type": "Sequence", "pretokenizers": [step, step]}
    return normal_part("pre_tokenizer", step)


def charsmap(longest: int) -> dict[str, str]:
    data = (4).to_bytes(4, "little") + bytes(4) + b"x" * longest + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}


REFUSED: dict[str, tuple[Change, str]] = {
    "doubled 30 times": (normalizers(*[replace({"String": "a"}, "aa")] * 30), "as long"),
    "one long replacement": (normalizers(replace({"Regex": "a"}, "b" * 1_000_000)), "as long"),
    "long prefixes": (normalizers(*[{"type": "Prepend", "prepend": "x" * 100_000}] * 20), "as long"),
    "a map to long strings": (normalizers(charsmap(GROWTH + 1)), "as long"),
    "maps one after another": (normalizers(*[charsmap(18)] * 3), "as long"),
    "a map of 4 GiB": (normalizers({"type": "Precompiled", "precompiled_charsmap": "/////w=="}), "cannot be read"),
    "no map": (normalizers({"type": "Precompiled", "precompiled_charsmap": ""}), "cannot be read"),
    "very many steps": (nested(14), "16,384 steps"),
    "very many marks": (template(*[CLS] * 1000, TEXT), "1,001 steps"),
    "tokens at random": (lambda whole: whole["model"].update(dropout=0.5), "at random"),
    "a mark that the model lacks": (template(CLS, TEXT, mark=700), "has token 700"),
    "a mark of 32 bits": (template(CLS, TEXT, mark=2**32 - 1), "has token 4294967295"),
}
UNREADABLE: dict[str, tuple[Change, str]] = {
    "a regex without end": (split("(a+)+$"), "cannot read the text"),
    "chunks of nothing": (normal_part("pre_tokenizer", {"type": "FixedLength", "length": 0}), "cannot read the text"),
    "no token for what is unknown": (
        normal_part("model", {"type": "WordLevel", "vocab": dict.fromkeys(MARKS, 0), "unk_token": "x"}),
        "cannot read the text",
    ),
    "the text many times": (template(*[TEXT] * 3), "tokens of the text; at most 20"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_asks_for_too_much_is_refused_as_it_is_loaded(name: str, folder: Path) -> None:
    change, words = REFUSED[name]
    edit(folder / "tokenizer.json", change)
    with bounded(), pytest.raises(UserError, match=words):
        load_backbone(BackboneSpec(str(folder), max_tokens=20))


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_text_that_the_tokenizer_fails_on_is_named(name: str, folder: Path) -> None:
    change, words = UNREADABLE[name]
    edit(folder / "tokenizer.json", change)
    with bounded(60), pytest.raises(UserError, match=words):
        backbone = load_backbone(BackboneSpec(str(folder), max_tokens=20))
        backbone.preparation.load_test("a" * 60 + "!", "text 3")


@pytest.mark.parametrize("name", ["tokenizer_file", "vocab_file", "merges_file"])
def test_a_tokenizer_reads_its_own_folder_only(name: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("{}")
    edit(folder / "tokenizer_config.json", lambda settings: settings.update({name: str(tmp_path / "mine")}))
    with pytest.raises(UserError, match=rf"names '.*mine' as its {name}"):
        load_backbone(BackboneSpec(str(folder), max_tokens=20))
    (tmp_path / "mine").unlink()  # on the machine of whoever saved it
    load_backbone(BackboneSpec(str(folder), max_tokens=20))


def test_no_other_version_of_a_tokenizer_is_taken(folder: Path) -> None:
    shutil.copy(folder / "tokenizer.json", folder / "tokenizer.4.0.0.json")
    edit(folder / "tokenizer_config.json", lambda s: s.update(fast_tokenizer_files=["tokenizer.4.0.0.json"]))
    with pytest.raises(UserError, match="other files than tokenizer"):
        load_backbone(BackboneSpec(str(folder), max_tokens=20))


@pytest.mark.parametrize(
    "steps",
    [
        [charsmap(18), replace({"Regex": " {2,}"}, "▁")],  # XLM-RoBERTa's
        [{"type": "NFC"}, replace({"Regex": r"\s+"}, " "), {"type": "Lowercase"}],  # CLIP's
        [replace({"Regex": r"\s{2,}|[\n\r\t]"}, " "), charsmap(18), replace({"Regex": " {2,}"}, "▁")],  # CamemBERT's
        [{"type": "BertNormalizer"}],
    ],
)
def test_the_normalisers_of_known_models_pass(steps: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    edit(file, normalizers(*steps))
    check_tokenizer(file)


def test_a_step_too_many_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    for count in (STEPS, STEPS + 1):
        file.write_text("{}")
        edit(file, normalizers(*[{"type": "Lowercase"}] * count))
        if count == STEPS:
            check_tokenizer(file)
    with pytest.raises(UserError, match=f"{STEPS + 1} steps"):
        check_tokenizer(file)

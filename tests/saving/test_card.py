"""The card of a learner: whatever the names are, they are text; the user's own words stay; no learner depends on it."""

import os
import shutil
import warnings
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from softtf.backbones import BackboneSpec
from softtf.classifier import ContinualClassifier
from softtf.config.names import BUNDLED, MINILM
from softtf.errors import visible
from softtf.learners import LinearHead
from softtf.saving.card import CARD, MARK, SHOWN_CLASSES, Measured, licence_of, literal, write_card
from support.folders import load
from support.tiny import TRAIN, pictures, tiny_backbone

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "`` ` ```\n# heading",
    "---\nlicense: mit\n---",
    "a | b\\",
    "[a](javascript:x)",
    MARK,
    "\x1b[31m\u202e",
    "&lt;b&gt; **bold** www.evil.example",
    "```\n\n<img src=x>",
)


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(text.partition("---\n\n")[2]))


@pytest.fixture(scope="module")
def hostile() -> ContinualClassifier:
    """Its classes and its tasks are called what would be markup."""
    model = ContinualClassifier(tiny_backbone(), LinearHead(), TRAIN, device="cpu")
    for task in range(2):
        labels = HOSTILE[5 * task : 5 * task + 5]
        model.learn((pictures(10, task), [*labels, *labels]), HOSTILE[-1 - task], progress=False)
    return model


@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.text("`| \n<&\\-#", max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_name_is_one_code_span_whatever_is_in_it(name: str) -> None:
    html = MarkdownIt("commonmark").render(f"- {literal(name)}, and more")
    shown = visible(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    inside = html.partition("<code>")[2].partition("</code>")[0]
    assert inside.strip(" ") == shown.strip(" ") and html.count("<") == 6  # ul, li and code


def test_names_of_classes_and_tasks_are_no_markup(hostile: ContinualClassifier) -> None:
    plain = ContinualClassifier(tiny_backbone(), LinearHead(), TRAIN, device="cpu")
    for task in range(2):
        plain.learn((pictures(10, task), list(range(5 * task, 5 * task + 5)) * 2), f"task {task}", progress=False)
    html, usual = rendered(hostile.card()), rendered(plain.card())
    for tag in ("<h1", "<h2", "<li", "<code", "<pre", "<a ", "<img", "<script", "<b>", "<strong", "<hr", "<table"):
        assert html.count(tag) == usual.count(tag), tag
    assert html.count("<h2") == 7 and "\x1b" not in html and "\u202e" not in html
    for name in HOSTILE:
        assert literal(name) in hostile.card()


def test_the_head_for_the_hub_has_no_name_of_a_class(hostile: ContinualClassifier) -> None:
    head = yaml.safe_load(hostile.card().split("---\n")[1])
    assert head == {
        "library_name": "softtf",
        "pipeline_tag": "image-classification",
        "tags": ["continual-learning", "linear-head"],
        "base_model": "tiny",
    }


def test_it_tells_what_is_known_and_measured_and_how_to_use_it(hostile: ContinualClassifier) -> None:
    card = hostile.card(Measured("test sets", [("Prompt ID, per-sample", 70.04, 1.0, 55.5), ("none", 60.0, 2.0, None)]))
    assert "2 tasks, 10 classes" in card and "from 10 examples" in card
    assert "| Prompt ID, per-sample | 70.0 | 1.0 | 55.5 |" in card and "Not measured" in hostile.card()
    assert 'ContinualClassifier.from_pretrained("FOLDER")' in card and hostile.header.backbone_sha256 in card
    compile(card.partition("```python\n")[2].partition("```")[0], "card", "exec")


def test_many_classes_are_counted_and_long_names_cut() -> None:
    model = ContinualClassifier(tiny_backbone(), LinearHead(), TRAIN, device="cpu")
    count = SHOWN_CLASSES + 7
    model.learn((pictures(count), [f"{i:03d}" + "x" * 5000 for i in range(count)]), progress=False)
    assert "and 7 more" in model.card() and len(model.card()) < 8000


@pytest.mark.parametrize(
    ("spec", "licence"),
    [
        (BackboneSpec(BUNDLED), "Apache-2.0"),
        (BackboneSpec(MINILM), "Apache-2.0"),
        (BackboneSpec("vit_base_patch16_224.dino"), "apache-2.0"),
        (BackboneSpec("random:test_vit"), None),
        (BackboneSpec("somebody/bert"), None),
        (BackboneSpec("/models/vit_base_patch16_224"), None),
    ],
)
def test_the_licence_is_the_one_that_the_library_states(spec: BackboneSpec, licence: str | None) -> None:
    assert licence_of(spec) == licence


# --- on disk


def test_it_is_written_on_every_save_and_what_stands_below_it_stays(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "learner"
    load(saved, tasks=2).save_pretrained(folder)
    card = folder / CARD
    assert "2 tasks" in card.read_text() and card.read_text().endswith(MARK + "\n")
    card.write_text(card.read_text() + "\nTrained for the museum.\n")
    load(saved).save_pretrained(folder, replace=True)
    assert "3 tasks" in card.read_text() and card.read_text().endswith(MARK + "\n\nTrained for the museum.\n")
    before = card.stat()
    load(saved).save_pretrained(folder, replace=True)
    assert card.stat() == before


def test_a_page_of_ones_own_is_left_alone(saved: Path, tmp_path: Path) -> None:
    load(saved, tasks=2).save_pretrained(tmp_path / "learner")
    (tmp_path / "learner" / CARD).write_text("# Mine")
    load(saved).save_pretrained(tmp_path / "learner", replace=True)
    assert (tmp_path / "learner" / CARD).read_text() == "# Mine"


@pytest.mark.skipif(os.name == "nt", reason="links and pipes")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "not UTF-8", "huge"])
def test_what_is_no_page_is_not_followed_and_the_learner_is_whole(kind: str, saved: Path, tmp_path: Path) -> None:
    folder, secret = tmp_path / "learner", tmp_path / "secret"
    load(saved, tasks=2).save_pretrained(folder)
    secret.write_text(f"{MARK}\npassword")
    card = folder / CARD
    card.unlink()
    if kind == "link":
        card.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(card)
    elif kind == "folder":
        card.mkdir()
    else:
        card.write_bytes(b"\xff" if kind == "not UTF-8" else b"x" * (2**24 + 1))
    with pytest.warns(UserWarning, match="the learner is saved, but not its card"):
        load(saved).save_pretrained(folder, replace=True)
    assert load(folder).num_tasks == 3
    assert secret.read_text() == f"{MARK}\npassword" and card.is_symlink() == (kind == "link")


def test_loading_and_signatures_do_not_depend_on_it(saved: Path, tmp_path: Path) -> None:
    key = b"k" * 16
    load(saved).save_pretrained(tmp_path / "learner", sign=key)
    (tmp_path / "learner" / CARD).write_text("pip install evil")
    assert load(tmp_path / "learner", verify=key).num_tasks == 3
    (tmp_path / "learner" / CARD).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path / "learner", verify=key).save_pretrained(tmp_path / "learner", replace=True)
    assert (tmp_path / "learner" / CARD).exists()


def test_a_full_disk_is_told(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved, tmp_path / "learner")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    told: list[str] = []
    write_card(tmp_path / "learner", f"card\n{MARK}", told.append)
    assert len(told) == 1 and "No space left" in told[0] and not (tmp_path / "learner" / CARD).exists()

"""Texts through the Python API on the real offline encoder: learned, told apart, the same alone as beside others."""

from pathlib import Path

import pytest
import torch

from softtf import ContinualClassifier, DualPrompt, SoftMask, TrainConfig, load_source, split_by_class
from softtf.backbones import BackboneSpec
from softtf.errors import UserError
from softtf.streams import Examples

pytestmark = pytest.mark.slow

SPEC = DualPrompt(g_layers="1", e_layers="5-6", adapt=SoftMask("5-6", "attn"), key_scale=0.1, feature_id=100)
CONFIG = TrainConfig(epochs=3, batch_size=6, learning_rate=0.3, precision="float32")
WORDS = "a word of many"


@pytest.fixture(scope="module")
def tests() -> list[Examples]:
    """Docstrings of two modules and of two others, held out."""
    train, test = load_source("docstrings")
    assert test is not None and len(test.classes) == 10
    stream = split_by_class(train.per_class(12, 0), test.per_class(6, 0), 5)[:2]
    return [part for task in stream for part in (task.train, task.test)]


@pytest.fixture(scope="module")
def model(tests: list[Examples]) -> ContinualClassifier:
    found = ContinualClassifier(BackboneSpec("minilm-l6-v2", max_tokens=32), SPEC, CONFIG, device="cpu")
    for train in tests[::2]:
        found.learn(train, progress=False)
    return found


def test_it_learns_and_forgets_nothing(model: ContinualClassifier, tests: list[Examples]) -> None:
    scores = model.evaluate(tests[1::2])
    assert scores["oracle (task given)"]["acc"] >= 75
    assert all(score["pooled"] >= 50 for score in scores.values())


@pytest.mark.parametrize("task", ["prompt-id", "gradient-id", "gradient-id-key-prompts", "feature-id:joint", None])
def test_a_text_gets_the_same_answer_alone_and_beside_longer_ones(model: ContinualClassifier, task: str | None) -> None:
    texts = ["", "short", f"{WORDS} " * 3, f"{WORDS} " * 100, "שלום 🙂", "nul\0 byte"]
    options = {"task": 1} if task is None else {"inference": task}
    together = model.predict_proba(texts, **options)
    alone = torch.cat([model.predict_proba([text], **options) for text in texts])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.predict_proba(texts[1], **options), together[1:2], rtol=0, atol=1e-5)
    assert together.isfinite().all()


def test_a_path_stands_for_the_texts_in_its_file_and_a_string_is_a_text(
    model: ContinualClassifier, tmp_path: Path
) -> None:
    file, texts = tmp_path / "texts.csv", ["short", f"{WORDS} of more"]
    file.write_text("text\n" + "\n".join(texts))
    assert torch.equal(model.predict_proba(file), model.predict_proba(texts))
    assert len(model.predict_proba(str(file))) == 1
    with pytest.raises(UserError, match="there is no file"):
        model.predict(tmp_path / "no.csv")


def test_it_loads_as_it_was_saved(model: ContinualClassifier, tests: list[Examples], tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    again = ContinualClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert torch.equal(again.predict_proba(tests[1]), model.predict_proba(tests[1]))
    assert again.header.backbone.max_tokens == 32

"""The Python API's `feature_cache`: what one learner computed the next one reads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from softtf.adaptations import SoftMask
from softtf.backbones import features
from softtf.backbones.features import PROBES
from softtf.classifier import ContinualClassifier
from softtf.learners import EASE, SLM, DualPrompt, LinearHead
from softtf.training.config import TrainConfig
from support.counting import COUNT, Notes, backbone_of, image_files, kept
from support.tiny import assert_same, pictures, snapshot

FIXED = TrainConfig(epochs=2, batch_size=16, learning_rate=3.2, augment=False, precision="float32")
KINDS: dict[str, Callable[[Path], Any]] = {
    "tensor": lambda folder: pictures(COUNT),
    "array": lambda folder: pictures(COUNT).numpy(),
    "arrays": lambda folder: list(pictures(COUNT).numpy()),
    "PIL": lambda folder: [Image.fromarray(np.asarray(p)) for p in pictures(COUNT)],
    "paths": lambda folder: image_files(folder),
    "names": lambda folder: list(map(str, image_files(folder))),
}


def learn(inputs: Any, cache: Path | None, spec: Any = None, train: TrainConfig = FIXED) -> ContinualClassifier:
    """A classifier whose backbone counts, after one task."""
    model = ContinualClassifier(backbone_of(), spec or LinearHead(), train, device="cpu", feature_cache=cache)
    model.learn((inputs, ["a", "b"] * (COUNT // 2)), progress=False)
    return model


def seen(model: ContinualClassifier) -> int:
    """On how many examples the backbone was run since this was last asked."""
    seen = model.learner.network.backbone.seen
    count = len(seen)
    seen.clear()
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_learner_reads_what_the_first_one_computed(kind: str, tmp_path: Path) -> None:
    """A linear head on fixed images runs the backbone for their features alone."""
    inputs = KINDS[kind](tmp_path / "images")
    models = [learn(inputs, cache) for cache in (None, tmp_path / "kept", tmp_path / "kept")]
    assert list(map(seen, models)) == [COUNT, COUNT, PROBES] and len(list((tmp_path / "kept").iterdir())) == 1
    expected = models[0].predict_proba(pictures(9, 1))
    assert all(torch.equal(model.predict_proba(pictures(9, 1)), expected) for model in models)


@pytest.mark.slow
@pytest.mark.parametrize("train", [FIXED, replace(FIXED, augment=True, clean_query=True)], ids=["plain", "clean"])
def test_queries_of_a_matching_learner_too(train: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DualPrompt(g_layers=(1,), e_layers=(3,), adapt=SoftMask((3, 4)))
    first = learn(pictures(COUNT), tmp_path, spec, train)
    monkeypatch.setattr(features, "_compute", None)  # nobody may
    again = learn(pictures(COUNT), tmp_path, spec, train)
    assert_same(snapshot(again.learner), snapshot(first.learner))
    assert torch.equal(again.predict_proba(pictures(9, 1)), first.predict_proba(pictures(9, 1)))


@pytest.mark.parametrize(("spec", "passes"), [(SLM(groups=4), 2), (EASE(frozen_weight=1.0), 3)], ids=["slm", "ease"])
def test_a_method_that_trains_a_network_reads_frozen_features_too(spec: Any, passes: int, tmp_path: Path) -> None:
    """It runs on every example once an epoch, and EASE once more for what its adapters make of them."""
    models = [learn(pictures(COUNT), tmp_path, spec) for _ in range(2)]
    assert list(map(seen, models)) == [(passes + 1) * COUNT, passes * COUNT + PROBES]


def test_test_sets_and_features_asked_for_are_kept_too_and_a_loaded_learner_finds_them(tmp_path: Path) -> None:
    first = learn(pictures(COUNT), tmp_path / "kept", DualPrompt(g_layers=(1,), e_layers=(3,)))
    tests = [(pictures(COUNT, 2), ["a", "b"] * (COUNT // 2))]
    features_found, scores = first.features(pictures(COUNT, 3)), first.evaluate(tests, ["prompt-id"])
    first.save_pretrained(tmp_path / "saved")
    models = [
        ContinualClassifier.from_pretrained(
            tmp_path / "saved", backbone=backbone_of(), train=FIXED, device="cpu", feature_cache=cache
        )
        for cache in (None, tmp_path / "kept")
    ]
    for model in models:
        seen(model)
        assert torch.equal(model.features(pictures(COUNT, 3)), features_found)
    assert list(map(seen, models)) == [COUNT, PROBES]
    assert [model.evaluate(tests, ["prompt-id"]) for model in models] == [scores, scores]
    assert models[0].store is None and len(list((tmp_path / "kept").iterdir())) == 3


def test_a_damaged_file_is_rebuilt_with_a_warning(tmp_path: Path) -> None:
    first = learn(pictures(COUNT), tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.warns(UserWarning, match=f"{file.name}.*computed again"):
        second = learn(pictures(COUNT), tmp_path)
    third = learn(pictures(COUNT), tmp_path)
    assert (seen(second), seen(third)) == (COUNT, PROBES)
    assert_same(snapshot(second.learner), snapshot(first.learner))
    assert_same(snapshot(third.learner), snapshot(first.learner))


def test_a_run_and_the_python_api_share_a_folder(tmp_path: Path, notes: Notes) -> None:
    file, _ = kept(tmp_path, notes)  # as a run has test inputs
    model = ContinualClassifier(backbone_of(), LinearHead(), device="cpu", feature_cache=str(tmp_path))
    model.features(pictures(COUNT))
    assert seen(model) == PROBES and list(tmp_path.iterdir()) == [file]

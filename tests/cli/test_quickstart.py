"""The quickstart on the bundled backbone and real images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.learners import DualPrompt
from softtf.training.config import TrainConfig


@pytest.mark.slow
def test_the_quickstart_learns_digits_forgets_nothing_and_loads_by_name(tmp_path: Path) -> None:
    digits = load_digits()
    images = [np.kron(image.astype(np.float32) / 16, np.ones((4, 4), np.float32)) for image in digits.images]

    def part(classes: tuple[int, ...], start: int, stop: int) -> tuple[list, list[str]]:
        rows = [i for c in classes for i in np.flatnonzero(digits.target == c)[start:stop]]
        return [images[i] for i in rows], [f"digit {digits.target[i]}" for i in rows]

    spec = DualPrompt(e_layers="10-12", key_scale=0.1, adapt=SoftMask("11-12", "attn"), freeze_g_after_first=True)
    config = TrainConfig(epochs=3, batch_size=7, learning_rate=0.5, augment=False, precision="float32")
    model = ContinualClassifier("vit_tiny_patch8_64", spec, config, device="cpu")
    model.learn(part((0, 1), 0, 14), progress=False)
    first, _ = part((0, 1), 40, 50)
    before = model.predict_proba(first, task=0)
    model.learn(part((4, 7), 0, 14), progress=False)
    torch.testing.assert_close(model.predict_proba(first, task=0)[:, :2], before, rtol=0, atol=1e-5)
    for task, classes in enumerate([(0, 1), (4, 7)]):
        inputs, labels = part(classes, 40, 50)
        right = [p == label for p, label in zip(model.predict(inputs, task=task), labels, strict=True)]
        assert sum(right) / len(right) >= 0.7
    model.save_pretrained(tmp_path / "digits")
    again = ContinualClassifier.from_pretrained(tmp_path / "digits", device="cpu")
    assert torch.equal(again.predict_proba(first), model.predict_proba(first))
    assert model.frozen_backbone_unchanged

"""The command line as a user meets it, on runs of less than a second."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softtf.cli.main import main
from softtf.recipes.presets import RECIPES, Recipe
from support.tiny import SMALL_PROJECTION

BACKBONE = ("--backbone.name", "random:test_vit", "--backbone.image-size", "32")
LAYERS = ("--learner.e-layers", "4-6", "--learner.adapt.layers", "5-6")
SMALL = ("--stream.num-tasks", "2", "--train.epochs", "1", "--train.precision", "float32", "--device", "cpu")
DIGITS = ("--stream.train-per-class", "6", "--stream.test-per-class", "3")
MASKS = ("--method", "dual-prompt+soft-tf")
FEATURE_ID = ("--learner.feature-id", str(SMALL_PROJECTION))  # in other processes too
TINY = ("run", "quickstart", *MASKS, *BACKBONE, *LAYERS, *SMALL, *DIGITS, *FEATURE_ID)
"""Two tasks of five digits on a small ViT of random weights, with masks and prompts, so that every part is at work."""
TINY_IMAGES = ("run", "own-images", *MASKS, *BACKBONE, *LAYERS, *SMALL, *FEATURE_ID, "--train.batch-size", "4")

CLASSES = ("ant", "bee", "cat", "dog")

POLICIES = ("prompt-id", "gradient-id", "feature-id:top64:joint", "oracle")


def call(*args: object) -> int:
    return main([str(arg) for arg in args])


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run a command that must fail as wrong input does, and return its line on stderr."""
    capsys.readouterr()
    code = call(*args)
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith("softtf: error: ")
    assert len(lines[0].strip(" -+|─│")) > 30, "a line, but it says nothing"
    return lines[0]


def unfinish(run: Path) -> None:
    """Take away what says that a run's learner has all its tasks: more may come."""
    (run / "learner/manifest.json").unlink(missing_ok=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def results(run: Path) -> dict[str, bytes]:
    """What a run with the same settings must give again, byte for byte."""
    wanted = (run / "accuracy.json", *run.glob("accuracy/*"), *run.glob("learner/*"))
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(wanted)}


def image_folder(folder: Path, classes: Sequence[str] = CLASSES, train: int = 5, test: int = 3) -> Path:
    """Pictures of noise in train/<class>/ and test/<class>/, each class with a tint of its own."""
    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for number, name in enumerate(classes):
            for i in range(count):
                pixels = draw.integers(0, 100, (20, 24, 3)) + np.roll([150, 75, 0], number)
                (folder / split / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{i}.png")
    return folder


def tiny_quickstart() -> Recipe:
    """The quickstart recipe on fewer and smaller images."""
    fewer = {"stream.num_tasks": 2, "stream.train_per_class": 6, "stream.test_per_class": 3, "train.epochs": 1}
    smaller = {"backbone": {"name": "random:vit_tiny_patch16_224", "image_size": 32}}
    recipe = RECIPES["quickstart"]
    return replace(recipe, settings={**recipe.settings, **fewer, **smaller})


def output(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    code = call(*args)
    out, errors = capsys.readouterr()
    assert code == 0, errors
    return out


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())

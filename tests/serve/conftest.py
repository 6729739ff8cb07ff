"""A learner of three tasks that is saved, and served to all tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from softtf.classifier import ContinualClassifier
from support.folders import SOFT_TF, load
from support.serving import Served, png, serving
from support.tiny import learned, pictures


@pytest.fixture(scope="session")
def model() -> ContinualClassifier:
    """Its answers differ between images, and name several tasks."""
    return learned(SOFT_TF)


@pytest.fixture(scope="session")
def folder(model: ContinualClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "learner"
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def files() -> list[bytes]:
    return [png(picture) for picture in pictures(12, 5)]


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder, load, max_inputs=12, max_pixels=1000, max_request_pixels=4000, max_body=0.1) as found:
        yield found

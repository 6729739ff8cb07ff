"""Tiny runs that the tests of a page look at; one that wants to change a run copies it."""

import shutil
from pathlib import Path

import pytest

from cli import TINY, TINY_IMAGES, call, image_folder

HOSTILE = "<img src=x onerror=alert(1)>&amp;${x}"


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in the seed, and one that differs in its epochs too."""
    folder = tmp_path_factory.mktemp("runs")
    assert call(*TINY, "--seed", 0, 1, "--output", folder) == 0
    assert call(*TINY, "--train.epochs", 2, "--seed", 2, "--output", folder / "longer") == 0
    return folder


@pytest.fixture(scope="session")
def digits(seeds: Path) -> Path:
    return seeds / "seed-0"


@pytest.fixture
def run(digits: Path, tmp_path: Path) -> Path:
    """A copy of a run, to change."""
    return Path(shutil.copytree(digits, tmp_path / "run"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images whose classes have names that are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    data = image_folder(folder / "data", (HOSTILE, "$x^2$", "bee\u202egnp", "'\"><b>cat"))
    assert call(*TINY_IMAGES, "--stream.source", data, "--output", folder / "run") == 0
    return folder / "run"

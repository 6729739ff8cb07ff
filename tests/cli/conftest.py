"""One finished run that many tests look at and none may change."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import TINY, call, contents, image_folder


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert call(*TINY, "--output", path) == 0
    return path


@pytest.fixture
def run(finished: Path) -> Iterator[Path]:
    """The folder of a finished run; it must be the same after the test."""
    before = contents(finished)
    yield finished
    assert contents(finished) == before


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of four classes."""
    return image_folder(tmp_path_factory.mktemp("data") / "animals")

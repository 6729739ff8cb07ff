"""What is no regular file, or has no end, wherever the command line takes a file: one line, and no waiting."""

import os
import shutil
from pathlib import Path

import pytest

from cli import TINY, call, refused

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]


def fifo(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "/proc/self/pagemap", "large"])
def test_settings_data_and_inputs(place: str, finished: Path, capsys: Capture) -> None:
    fifo(Path("pipe"))
    with open("large", "wb") as file:
        file.truncate(5 * 2**30)
    for command in [
        ("run", "--config", place),
        (*TINY, "--stream.source", place),
        (*TINY, "--backbone.weights", place),
        ("predict", finished, place),
    ]:
        assert place in refused(capsys, *command)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".png"])
def test_a_pipe_that_looks_like_data(ending: str, finished: Path, capsys: Capture) -> None:
    name = str(fifo(Path(f"pipe{ending}")))
    assert name in refused(capsys, "predict", finished, name)
    if ending != ".png":
        assert name in refused(capsys, "run", name)


@pytest.mark.parametrize("name", ["config.yaml", "learner/learner.json", "learner/task-001.json"])
def test_a_pipe_in_a_run(name: str, copy: Path, capsys: Capture) -> None:
    fifo(copy / name)
    for command in (("resume", copy), ("evaluate", copy), ("predict", copy / "learner", "x.png")):
        if command[0] != "predict" or name.startswith("learner"):
            assert str(copy) in refused(capsys, *command)


@pytest.mark.parametrize("name", ["task-001.safetensors", "task-002.safetensors"])
@pytest.mark.parametrize("limit", [(), ("--memory-limit", "0")])
def test_a_pipe_for_tensors(name: str, limit: tuple[str, ...], copy: Path, capsys: Capture) -> None:
    fifo(copy / "learner" / name)
    assert name in refused(capsys, "evaluate", copy, *limit)


def test_a_folder_of_images_with_a_pipe_in_it(images: Path, finished: Path, capsys: Capture) -> None:
    shutil.copytree(images, "animals")
    fifo(Path("animals/test/ant/x.png"))
    assert "x.png" in refused(capsys, "predict", finished, "animals/test/ant/x.png")
    assert call("predict", finished, "animals") == 1
    assert "not answered" in capsys.readouterr().err

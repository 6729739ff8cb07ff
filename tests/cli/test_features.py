"""Features that runs share: they change no number, and what happens to them stops no run."""

import errno
import os
from pathlib import Path

import pytest

from cli import BACKBONE, DIGITS, SMALL, TINY, call, output, refused, results
from softtf.files import tensors as store
from support.stopping import STEPWISE

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
CLEAN = (*TINY, *STEPWISE, "--train.augment", "--train.clean-query")


def shown(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("command", [TINY, CLEAN], ids=["not augmented", "clean queries"])
def test_first_run_later_run_and_run_without_disk_end_with_the_same_bytes(
    command: tuple[object, ...], capsys: Capture
) -> None:
    for name, cache in (("cold", "features"), ("warm", "features"), ("without", "off")):
        text = output(capsys, *command, "--output", name, "--feature-cache", cache)
        assert "note: the weights" in text and text.count("note:") == 1
    assert results(Path("cold")) == results(Path("warm")) == results(Path("without"))
    assert len(list(Path("features").iterdir())) == 3  # two tasks to learn from, all to test on
    assert not Path("off").exists()


def test_queries_of_augmented_and_of_clean_images_make_other_keys(capsys: Capture) -> None:
    assert call(*CLEAN, "--output", "clean") == 0
    assert call(*CLEAN[:-1], "--output", "augmented") == 0
    clean, augmented = results(Path("clean")), results(Path("augmented"))
    assert clean["learner/task-002.safetensors"] != augmented["learner/task-002.safetensors"]


def test_damaged_features_are_noted_and_computed_again(run: Path, capsys: Capture) -> None:
    assert call(*TINY, "--output", "first", "--feature-cache", "features") == 0
    files = sorted(Path("features").iterdir())
    whole = [file.read_bytes() for file in files]
    for file, data in zip(files, (whole[0][:-9], b"", b"\x80\x04\x95 a pickle"), strict=True):
        file.write_bytes(data)
    text = shown(output(capsys, *TINY, "--output", "second", "--feature-cache", "features"))
    assert text.count("computed again") == 3 and "never unpickles" in text
    assert results(Path("second")) == results(run)
    assert "again" not in output(capsys, "evaluate", "second", "--last")


def test_a_cache_that_cannot_be_written_is_noted_once_and_stops_nobody(run: Path, capsys: Capture) -> None:
    Path("file").write_text("no folder")
    text = shown(output(capsys, *TINY, "--output", "new", "--feature-cache", "file/features"))
    assert text.count("could not write") == 1 and "kept in memory only" in text
    assert results(Path("new")) == results(run)


def test_a_full_disk_under_the_cache_alone_stops_nobody(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_replace = store.os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).parent.name == "features":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_replace(source, target)

    monkeypatch.setattr(store.os, "replace", replace)
    text = shown(output(capsys, *TINY, "--output", "new", "--feature-cache", "features"))
    assert text.count("No space left on device") == 1
    assert results(Path("new")) == results(run) and not list(Path("features").iterdir())


def test_clean_queries_for_a_method_that_matches_none_are_refused_before_anything_is_written(capsys: Capture) -> None:
    command = ("run", "quickstart", "--method", "linear-head", *BACKBONE, *SMALL, *DIGITS)
    message = refused(capsys, *command, "--train.clean-query", "--output", "new")
    assert "clean_query" in message and not Path("new").exists()


def test_other_policies_find_the_queries_of_the_run(run: Path, capsys: Capture) -> None:
    assert call(*TINY, "--output", "new", "--feature-cache", "features") == 0
    before = {file.name: file.stat().st_mtime_ns for file in Path("features").iterdir()}
    assert call("evaluate", "new", "--policy", "prompt-id:batch3", "oracle") == 0
    assert {file.name: file.stat().st_mtime_ns for file in Path("features").iterdir()} == before

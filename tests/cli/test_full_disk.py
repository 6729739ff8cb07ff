"""A disk that fills up at any write of a run: one line, and resume ends with the same bytes."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cli import TINY, call, refused, results
from softtf.files import tensors as store

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


class FullDisk:
    """A disk that takes `writes` files and no more."""

    def __init__(self, writes: int) -> None:
        self.writes, self.true_replace = writes, os.replace

    def replace(self, source: Path, target: Path) -> None:
        if not self.writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.writes -= 1
        self.true_replace(source, target)


def count_writes(monkeypatch: pytest.MonkeyPatch) -> int:
    disk = FullDisk(1000)
    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", disk.replace)
        assert call(*TINY, "--output", "counted") == 0
    return 1000 - disk.writes


def test_a_full_disk_loses_nothing(run: Path, images: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = count_writes(monkeypatch)
    assert writes > 10
    for number in range(0, writes, 2):
        path = Path(f"full-{number}")
        with monkeypatch.context() as patch:
            patch.setattr(store.os, "replace", FullDisk(number).replace)
            message = refused(capsys, *TINY, "--output", path)
        assert "No space left on device" in message and str(path) in message
        assert not list(path.rglob("*.tmp"))
        if (path / "learner/task-001.json").exists():
            assert call("predict", path, images / "test") == 0, f"write {number}: task 1 must stay usable"
        capsys.readouterr()
        command = ["resume", path] if (path / "config.yaml").exists() else [*TINY, "--output", path]
        assert call(*command) == 0, f"write {number}: {capsys.readouterr().err}"
        assert results(path) == results(run), f"write {number}"


def test_a_full_disk_while_logging(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    true_open = os.open

    def full(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if str(path).endswith("events.jsonl") and flags & os.O_WRONLY:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true_open(path, flags, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        message = refused(capsys, *TINY, "--output", "new")
    assert "events.jsonl" in message and "No space left on device" in message
    assert not Path("new").exists()  # no epoch was kept, and the same command is not blocked
    assert call(*TINY, "--output", "new") == 0
    assert results(Path("new")) == results(run)

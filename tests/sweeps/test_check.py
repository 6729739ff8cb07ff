"""Every run is checked before the first begins (`tests/cli/test_sweep.py`), and nothing is loaded twice for it."""

from pathlib import Path

import pytest

from softtf.runs.config import StreamConfig
from softtf.sweeps import check as checking
from softtf.sweeps.file import read_sweep
from support.sweeps import SETTINGS, sweep_file


def test_what_is_checked_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[object] = []
    built: list[object] = []
    monkeypatch.setattr(StreamConfig, "build", lambda self: built.append(self) or object())
    monkeypatch.setattr(checking, "prepare", lambda config, path, console, stream: seen.append(stream))
    settings = {name: value for name, value in SETTINGS.items() if name != "stream.num_tasks"}
    vary = {"learner.adapt.layers": ["4", "5"], "stream.num_tasks": [2, 5]}
    checking.check_jobs(read_sweep(sweep_file(vary=vary, settings=settings)).jobs(Path("runs")))
    assert len(seen) == 4 and len(built) == len(set(seen)) == 2
    seen.clear()
    built.clear()
    file = sweep_file(vary={"learner.adapt.layers": ["4", "5", "6"]}, seeds=[0, 1, 2])
    found = read_sweep(file).jobs(Path("runs"))
    checking.check_jobs(found)
    assert len(seen) == 3 and len(built) == len(set(seen)) == 1
    seen.clear()
    checking.check_jobs(found[:3])  # which differ in their seed alone
    assert len(seen) == 1
    checking.check_jobs(found[:1])  # which is checked when it begins
    assert len(seen) == 1


def test_runs_of_other_machines_are_checked_without_their_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    monkeypatch.setattr(StreamConfig, "build", lambda self: object())
    monkeypatch.setattr(checking, "prepare", lambda config, *_: seen.append(config.device))
    found = read_sweep(sweep_file(settings={**SETTINGS, "device": "cuda:7"})).jobs(Path("runs"))
    checking.check_jobs(found[:1], here=False)  # here nothing begins that would check it
    checking.check_jobs(found)
    assert seen == ["cpu", "cuda:7", "cuda:7"]

"""One run of many: begun, gone on with, or finished already; and how an attempt ended, in words."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cli import contents, results
from softtf.config.dotted import with_settings
from softtf.config.tree import from_yaml, to_yaml
from softtf.errors import OutOfMemoryError, ShortageError, TrainingError, UserError
from softtf.files.lock import BusyError, Lock
from softtf.recipes.recipes import recipe_named
from softtf.runs.config import RunConfig
from softtf.runs.run import start
from softtf.screen import Screen
from softtf.sweeps import work
from softtf.sweeps.job import Job
from softtf.sweeps.work import Outcome, do, outcome_of
from support.sweeps import SETTINGS

QUIET = Screen(quiet=True)
CONFIG = with_settings(
    recipe_named("quickstart", "dual-prompt+soft-tf"), {**SETTINGS, "train.epochs": 1, "learner.adapt.layers": "5"}
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("runs") / "whole"
    do(Job(CONFIG, path), QUIET)
    before = contents(path)
    yield path
    assert contents(path) == before


def test_a_finished_run_is_left_as_it_is(whole: Path) -> None:
    do(Job(CONFIG, whole), QUIET)


@pytest.mark.slow
def test_a_run_that_was_begun_elsewhere_goes_on_with_the_commands_device_and_keeps_the_rest(
    whole: Path, tmp_path: Path
) -> None:
    """What the run found out by itself, such as the Hub's commit of its backbone, stays."""
    found = replace(CONFIG, device="auto", learner=CONFIG.learner.for_stream(10))
    start(found, tmp_path / "run", QUIET).folder.unlock()
    do(Job(CONFIG, tmp_path / "run"), QUIET, batch_size=7)
    now = from_yaml(RunConfig, (tmp_path / "run/config.yaml").read_text())
    assert now == replace(from_yaml(RunConfig, (whole / "config.yaml").read_text()), device="cpu")
    assert results(tmp_path / "run") == results(whole)


def test_a_run_of_other_settings_is_refused(whole: Path) -> None:
    other = with_settings(CONFIG, {"stream.train_per_class": 7})
    with pytest.raises(UserError, match=r"holds a run with stream\.train_per_class=6, not 7; give another folder"):
        work.check_same(other, whole)
    work.check_same(with_settings(CONFIG, {"evaluate.batch_size": 3, "device": "auto"}), whole)


def test_none_is_a_wish_too(whole: Path) -> None:
    with pytest.raises(UserError, match=r"holds a run with stream\.train_per_class=6, not None; give"):
        work.check_same(with_settings(CONFIG, {"stream.train_per_class": None}), whole)


def test_what_a_run_finds_out_by_itself_may_differ(tmp_path: Path) -> None:
    wish = with_settings(recipe_named("quickstart", "der++"), {"learner.classes": "all"})
    learner, commit = wish.learner.for_stream(10), "a" * 40
    found = replace(wish, learner=learner, backbone=replace(wish.backbone, revision=commit))
    (tmp_path / "config.yaml").write_text(to_yaml(found.located()))
    assert work.check_same(wish, tmp_path) == found.located()
    with pytest.raises(UserError, match=r"learner\.total_classes=10, not 11"):
        work.check_same(replace(wish, learner=wish.learner.for_stream(11)), tmp_path)


def test_a_run_that_goes_on_reads_its_settings_once_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(CONFIG, tmp_path / "run", QUIET).folder.unlock()
    opened: list[Path] = []
    true_open = work.RunFolder.open
    monkeypatch.setattr(work.RunFolder, "open", lambda path: opened.append(path) or true_open(path))
    monkeypatch.setattr(work, "learn_stream", lambda run: run.folder.unlock())
    do(Job(CONFIG, tmp_path / "run"), QUIET)
    assert len(opened) == 2  # to check it, and to open it


def raising(error: BaseException) -> Outcome:
    def act() -> None:
        raise error

    return outcome_of(act)


def test_errors_are_told_apart() -> None:
    assert outcome_of(lambda: None) == Outcome("done")
    assert raising(BusyError("in use")) == Outcome("busy", "in use")
    assert raising(UserError("no such layer")) == Outcome("failed", "no such layer")
    assert raising(TrainingError("the loss is not finite")) == Outcome("failed", "the loss is not finite")
    assert raising(FileNotFoundError(2, "No such file", "x")) == Outcome("failed", "x: No such file")
    assert raising(OutOfMemoryError("too little")) == raising(ShortageError("too little"))
    for error in (ShortageError("x"), MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")):
        assert raising(error).kind == "memory"
    assert raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")).reason.endswith(
        "(2 GiB more were requested)"
    )


def test_a_fault_of_softtf_and_an_interrupt_are_raised() -> None:
    for error in (TypeError("no"), RuntimeError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            raising(error)
    of_a_signal = RuntimeError("a worker process has ended")
    of_a_signal.__context__ = KeyboardInterrupt()
    with pytest.raises(RuntimeError):
        raising(of_a_signal)


def test_a_run_that_another_process_works_on_is_busy(tmp_path: Path) -> None:
    start(CONFIG, tmp_path / "run", QUIET).folder.unlock()
    lock = Lock(tmp_path / "run")
    assert outcome_of(lambda: do(Job(CONFIG, tmp_path / "run"), QUIET)).kind == "busy"
    lock.release()

"""A first task that fails leaves nothing that blocks the same command; what is worth going on from stays."""

import signal
from pathlib import Path
from typing import Any, cast

import pytest

from cli import BACKBONE, DIGITS, SMALL, TINY, TINY_IMAGES, call, contents, image_folder, output, refused, results
from softtf import classifier as classifier_module
from softtf.evaluation.evaluate import FEATURES, SAMPLES
from softtf.evaluation.progress import ScoringProgress
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.runs import run as run_module
from softtf.screen import Screen
from softtf.training.progress import TaskProgress
from softtf.training.task import EpochReport, TaskTraining
from support.stopping import at_call, in_another_process, send

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
HOT = ("--train.learning-rate", "1e30")


def test_a_loss_that_is_not_finite_leaves_no_folder(run: Path, capsys: Capture) -> None:
    message = refused(capsys, *TINY, *HOT, "--output", "new")
    assert "task 1" in message and "finished tasks are in" not in message
    assert not Path("new").exists()
    assert call(*TINY, "--output", "new") == 0  # the same command, mended
    assert results(Path("new")) == results(run)


def test_nor_does_one_in_a_later_epoch(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on from the last epoch would only fail again."""
    true_loss = DualPromptLearner.loss
    calls = []

    def loss(self: Any, batch: Any) -> Any:
        calls.append(1)
        found = true_loss(self, batch)
        return {name: value * float("nan") for name, value in found.items()} if len(calls) > 4 else found

    monkeypatch.setattr(DualPromptLearner, "loss", loss)
    message = refused(capsys, *TINY, "--train.epochs", 4, "--output", "new")
    assert "epoch 3" in message and not Path("new").exists()


def test_an_input_that_cannot_be_read_leaves_no_folder(capsys: Capture) -> None:
    folder = image_folder(Path("animals"))
    bad = folder / "train" / "ant" / "0.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    command = (*TINY_IMAGES, "--stream.source", folder, "--output", "new")
    assert "0.png" in refused(capsys, *command)
    assert not Path("new").exists()
    bad.write_bytes(whole)
    assert call(*command) == 0


def test_a_failure_while_the_folder_is_made_leaves_none(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "environment", lambda device: {"x": object()})
        with pytest.raises(TypeError):
            call(*TINY, "--output", "new")
    assert not Path("new").exists()
    assert call(*TINY, "--output", "new") == 0


def test_other_files_in_the_folder_are_left(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    true_begin = classifier_module.begin_training

    def begin(*args: Any) -> Any:
        Path("new/thesis.txt").write_text("all I have")
        return true_begin(*args)

    monkeypatch.setattr(classifier_module, "begin_training", begin)
    refused(capsys, *TINY, *HOT, "--output", "new")
    assert contents(Path("new")).keys() == {"thesis.txt"}


def test_a_second_task_that_fails_leaves_the_first(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    true_loss = DualPromptLearner.loss

    def loss(self: Any, batch: Any) -> Any:
        found = true_loss(self, batch)
        return {n: v * float("nan") for n, v in found.items()} if self.num_tasks == 2 else found

    with monkeypatch.context() as patch:
        patch.setattr(DualPromptLearner, "loss", loss)
        assert "finished tasks are in" in refused(capsys, *TINY, "--output", "new")
    assert Path("new/learner/task-001.json").exists()
    assert "go on with `softtf resume new`" in refused(capsys, *TINY, "--output", "new")


@pytest.mark.parametrize("moment", ["stopped", "killed"])
def test_what_was_stopped_can_be_gone_on_with(moment: str, run: Path) -> None:
    kind = signal.SIGINT if moment == "stopped" else signal.SIGKILL
    in_another_process(at_call(1, DualPromptLearner, "loss", send(kind)), *TINY, "--output", "new")
    assert call("resume", "new") == 0
    assert results(Path("new")) == results(run)


# --- What is shown ----------------------------------------------------------------------------------------------


class Training:
    """As much of a training as is shown of it."""

    epoch, epochs, loader = 0, 1, (1, 2)


@pytest.mark.parametrize("live", [False, True])
def test_a_method_without_losses_shows_no_gap(live: bool, capsys: Capture) -> None:
    console = Screen(force_terminal=live, width=100, no_color=True)
    progress, training = TaskProgress("task 1/2", console), cast(TaskTraining, Training())
    progress.begun(training)
    progress.epoch(training, EpochReport(0, 1, 1, {}, 54, 2.7))
    progress.ended(0.0, 0.0)
    progress.closed()
    line = capsys.readouterr().out.splitlines()[-1]
    expected = "task 1/2: 2.7 s, 20 samples/s" if live else "task 1/2: epoch 1/1, 2.7 s, 20 samples/s"
    assert line.endswith(expected) and ", ," not in line


def test_a_squared_error_is_called_one(capsys: Capture) -> None:
    ranpac = ("--method", "ranpac", "--learner.projection", "30")
    command = ("run", "quickstart", *BACKBONE, *SMALL[:2], *SMALL[-2:], *DIGITS)
    assert "held out squared error 0." in output(capsys, *command, *ranpac, "--output", "new")


def test_scoring_is_shown_on_a_terminal_and_nowhere_else(capsys: Capture) -> None:
    for live in (True, False):
        with ScoringProgress("after task 2", console=Screen(force_terminal=live, width=100)) as progress:
            progress.told(FEATURES, 30, 60)
            progress.told(SAMPLES, 30, 60)
            progress.bar.refresh()
        shown = capsys.readouterr().out
        assert ("after task 2, scoring" in shown and "30/60" in shown) == live
        assert live or not shown
    with ScoringProgress("after task 2", shown=False, console=Screen(force_terminal=True)) as progress:
        progress.told(SAMPLES, 30, 60)
    assert not capsys.readouterr().out


def test_a_run_shows_its_scoring(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(ScoringProgress, "told", lambda self, *what: told.append(what))
    out = output(capsys, *TINY, "--output", "new", "--feature-cache", "off")
    assert [what for what in told if what[0] == SAMPLES] == [(SAMPLES, 15, 15), (SAMPLES, 15, 30), (SAMPLES, 30, 30)]
    assert told[0] == (FEATURES, 30, 30) and "scoring" not in out
    told.clear()
    output(capsys, "evaluate", "new", "--policy", "oracle", "--last")
    assert told == [(SAMPLES, 15, 30), (SAMPLES, 30, 30)]

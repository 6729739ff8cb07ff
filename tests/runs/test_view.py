"""What is shown while a run goes on: in place on a terminal and in a notebook, in lines elsewhere, or nothing."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from cli import TINY, call, output, results, unfinish
from softtf.cli import resume as resume_command
from softtf.cli import run as run_command
from softtf.evaluation import AccuracyMatrix
from softtf.runs.view import Work, matrix_table
from softtf.screen import Screen, duration

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def on_screen(monkeypatch: pytest.MonkeyPatch, **screen: Any) -> None:
    """Let commands print on such a screen."""
    monkeypatch.setattr(run_command, "Screen", lambda quiet: Screen(quiet=quiet, **screen))


def drawn(matrix: AccuracyMatrix, width: int = 100, height: int = 40) -> list[str]:
    screen = Screen(width=width, height=height, record=True, file=io.StringIO())
    screen.print(matrix_table(matrix, screen))
    return [line.rstrip() for line in screen.export_text().splitlines()]


def filled(tasks: int) -> AccuracyMatrix:
    matrix = AccuracyMatrix()
    for task in range(tasks):
        matrix.add_row(list(range(task + 1)), [100] * (task + 1))
    return matrix


def test_the_time_left_is_that_of_all_kinds_of_work_at_their_speed() -> None:
    work = Work([10, 20, 30])
    assert work.seconds_left() is None
    work.add(10, 5.0)
    assert work.seconds_left() == pytest.approx(25.0)
    assert work.seconds_left(more=10, took=15.0) == pytest.approx(40.0)  # 1 s each, of which 40 are left
    work.add(50, 7.0)
    assert work.seconds_left() == 0.0 and Work([]).seconds_left() == 0.0


def test_times_are_told_in_two_words() -> None:
    assert [duration(s) for s in (41.23, 365, 7450)] == ["41.2 s", "6 min 5 s", "2 h 4 min"]


def test_the_matrix_shows_each_task_after_each_and_its_newest_part_where_room_is_short() -> None:
    header, *rows = drawn(filled(3))
    assert [header.split(), *map(str.split, rows)] == [
        ["task", "1", "2", "3"],
        ["1", "0", "0", "0"],
        ["2", "1", "1"],
        ["3", "2"],
    ]
    lines = drawn(filled(30), width=60, height=20)
    assert max(map(len, lines)) <= 60 and len(lines) <= 14
    assert lines[-1].split()[0] == "30" and lines[-1].split()[-1] == "29"


def test_a_terminal_shows_the_tasks_the_time_left_and_the_matrix(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_screen(monkeypatch, force_terminal=True, width=100, height=40, no_color=True)
    assert call(*TINY, "--output", "run") == 0
    shown = capsys.readouterr().out
    assert "tasks learned" in shown and "2/2" in shown
    assert "accuracy in percent on each task (row) after each task (column); Prompt ID, per-sample" in shown
    assert re.search(r"after task 1: ACC prompt-id [\d.]+, .*, oracle [\d.]+; about [\d.]+ s left", shown)


def test_a_pipe_gets_lines_alone(capsys: Capture) -> None:
    out = output(capsys, *TINY, "--output", "run")
    assert "\x1b" not in out and "tasks learned" not in out
    lines = [line for line in out.splitlines() if re.match(r"(after )?task \d", line)]
    assert [line.partition(":")[0] for line in lines] == ["task 1/2", "after task 1", "task 2/2", "after task 2"]
    assert lines[1].endswith(" s left") and "left" not in lines[3]


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True])
def test_quiet_prints_nothing(live: bool, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    on_screen(monkeypatch, force_terminal=live)
    assert output(capsys, *TINY, "--quiet", "--output", "run") == ""
    unfinish(Path("run"))
    Path("run/accuracy/after-002.json").unlink()
    assert output(capsys, "resume", "run", "--quiet") == ""
    assert "seed" not in output(capsys, *TINY, "--quiet", "--seed", 0, 1, "--output", "both")


def test_a_notebook_draws_it_again_in_one_place(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    ipywidgets = pytest.importorskip("ipywidgets")
    outputs, printed = [], []

    class Output(ipywidgets.Output):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            outputs.append(self)

    monkeypatch.setattr(ipywidgets, "Output", Output)
    monkeypatch.setattr("IPython.display.display", lambda shown, **options: printed.append(getattr(shown, "text", "")))
    on_screen(monkeypatch, force_jupyter=True)
    assert call(*TINY, "--output", "run") == 0
    assert len(outputs) == 1
    assert any("accuracy in percent" in text for text in printed)


def test_a_run_whose_first_counts_are_lost_goes_on_in_a_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(*TINY, "--output", "run") == 0
    before = results(Path("run"))
    unfinish(Path("run"))
    Path("run/accuracy/after-001.json").unlink()
    monkeypatch.setattr(resume_command, "Screen", lambda quiet: Screen(quiet=quiet, force_terminal=True))
    output(capsys, "resume", "run")
    assert results(Path("run")) == before

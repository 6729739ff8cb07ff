"""What is shown while many runs go on: a line for each event, and on a terminal how far those are that go on."""

import io
from pathlib import Path

from softtf.files.lock import Lock
from softtf.runs.config import RunConfig
from softtf.screen import Screen
from softtf.sweeps.job import Job
from softtf.sweeps.shown import Shown


def shown(console: Screen, folder: Path) -> str:
    jobs = [Job(RunConfig(seed=seed), folder / str(seed), "ncm on digits") for seed in (3, 4)]
    (folder / "3/learner").mkdir(parents=True)
    (folder / "3/config.yaml").touch()
    lock = Lock(folder / "3")  # it goes on
    what = Shown(jobs, console)
    with what.drawing():
        what.say(jobs[1], "to do")
        what.refresh([jobs[0].path])
    lock.release()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_pipe_gets_lines_and_a_terminal_the_runs_that_go_on_too(tmp_path: Path) -> None:
    line, drawn = "run 2 of 2, seed 4: ncm on digits: to do\n", "run 1 of 2, seed 3: ncm on digits  0 tasks"
    pipe = shown(Screen(file=io.StringIO(), width=100), tmp_path / "pipe")
    assert pipe == line
    terminal = shown(Screen(file=io.StringIO(), width=100, force_terminal=True), tmp_path / "terminal")
    assert line in terminal.replace("\r", "") and drawn in terminal

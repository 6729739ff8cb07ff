"""What is shown while many runs go on: a line for each event, and on a terminal how far those are that go on."""

import io
import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from softtf.files.lock import Lock, Owner
from softtf.runs.config import RunConfig
from softtf.screen import Screen
from softtf.sweeps.job import Job
from softtf.sweeps.shown import Shown
from softtf.sweeps.storage import Storage


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


@pytest.mark.parametrize("elsewhere", [False, True])
def test_of_runs_done_elsewhere_a_terminal_shows_what_they_sent(elsewhere: bool, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/bucket"
    lease = {"owner": asdict(Owner("another-machine", 17, "now")), "renewed": time.time()}
    Storage(url).write("ncm/seed-3.lease.json", json.dumps(lease).encode())
    Storage(url).write("ncm/seed-3/config.yaml", b"")
    job = Job(RunConfig(seed=3), tmp_path / "here/ncm/seed-3", "ncm on digits", f"{url}/ncm/seed-3")
    console = Screen(file=io.StringIO(), width=100, force_terminal=True)
    what = Shown([job], console)
    with what.drawing():
        what.refresh([job.path], elsewhere)
    assert isinstance(console.file, io.StringIO)
    assert ("run 1 of 1, seed 3: ncm on digits  0 tasks" in console.file.getvalue()) == elsewhere == job.path.exists()

"""While one process works on a run, others may read it, and are told who does. Processes are forks."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import TINY, call, output, refused, results
from softtf.cli import quickstart
from softtf.evaluation import scorer
from softtf.files import lock
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.recipes import RECIPES
from softtf.runs import run as run_module
from support.stopping import at_call, in_another_process, wait_for
from support.tables import RUNS, TABLE

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]

RUN = (*TINY, "--train.epochs", "2", "--train.batch-size", "10")
STEPS = 3  # an epoch
STATE = {"second-epoch": (STEPS + 1, DualPromptLearner, "loss"), "first-evaluation": (1, scorer, "evaluate")}


def stopping_at(state: str, here: Path) -> Callable[[], None]:
    def wait() -> None:
        (here / "there").touch()
        wait_for(here / "go")

    return at_call(*STATE[state], wait)


@contextmanager
def going(state: str, *args: object) -> Iterator[int]:
    """A command in another process that waits in mid-work until the end of the block, and then succeeds."""
    here = Path.cwd()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if in_another_process(stopping_at(state, here), *args) == 0 else 1)
    try:
        wait_for(here / "there")
        yield pid
    finally:
        (here / "go").touch()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, (here / "stderr").read_text()


@pytest.mark.parametrize("state", STATE)
def test_a_run_that_is_going_is_left_alone(state: str, capsys: Capture) -> None:
    assert call(*RUN, "--output", "whole") == 0
    with going(state, *RUN, "--output", "new"):
        before = {p: p.read_bytes() for p in Path("new").rglob("*") if p.is_file()}
        for command in (("resume", "new"), (*RUN, "--output", "new")):
            line = refused(capsys, *command)
            assert re.search(
                r"new is in use by process \d+ on \S+, since 20\d\d-.*; wait until it ends, or stop it", line
            )
        assert {p: p.read_bytes() for p in Path("new").rglob("*") if p.is_file()} == before
    assert results(Path("new")) == results(Path("whole"))
    assert not (Path("new") / lock.NAME).exists()
    assert "resumed from task 2 of 2" in output(capsys, "resume", "new")


def test_a_run_that_is_going_may_be_scored(capsys: Capture) -> None:
    assert call(*RUN, "--output", "whole") == 0
    with going("first-evaluation", *RUN, "--output", "new"):
        text = " ".join(output(capsys, "evaluate", "new", "--last").split())
        assert re.search(r"note: new is in use by process \d+ on .*; the tasks that are finished are scored", text)
        scored = {path: path.read_bytes() for path in Path("new/rescored").iterdir()}
    assert results(Path("new")) == results(Path("whole"))
    assert scored == {path: path.read_bytes() for path in Path("new/rescored").iterdir()}
    assert "is in use" not in output(capsys, "evaluate", "new", "--last")


def test_what_scoring_writes_is_not_swept_by_the_run(capsys: Capture) -> None:
    assert call(*RUN, "--output", "new") == 0
    mine = Path("new/rescored") / f".{lock.socket.gethostname()}-{os.getpid()}-0123456789ab.tmp"
    left = Path("new/rescored/.x.json.tmp")
    mine.parent.mkdir()
    for file in (mine, left):
        file.write_bytes(b"half a file")
    output(capsys, "resume", "new")
    assert not left.exists()


def test_two_that_begin_the_same_run_at_once(capsys: Capture) -> None:
    """The second finds the folder free, and no longer when it wants to make the run."""
    begin = at_call(1, run_module, "load_backbone", lambda: (Path("there").touch(), wait_for(Path("go"))))
    pid = os.fork()
    if pid == 0:
        os._exit(in_another_process(begin, *RUN, "--output", "new"))
    wait_for(Path("there"))
    assert call(*RUN, "--output", "new") == 0
    before = results(Path("new"))
    Path("go").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert "new exists already; go on with" in Path("stderr").read_text()
    assert results(Path("new")) == before and not (Path("new") / lock.NAME).exists()


def test_a_killed_run_blocks_nobody(capsys: Capture) -> None:
    kill = at_call(STEPS + 2, DualPromptLearner, "loss", lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert in_another_process(kill, *RUN, "--output", "new") == -signal.SIGKILL
    assert (Path("new") / lock.NAME).exists()
    output(capsys, "resume", "new")
    assert not (Path("new") / lock.NAME).exists()


def test_a_table_in_two_processes(capsys: Capture) -> None:
    with going("first-evaluation", *TABLE):
        (busy,) = RUNS.glob("*/seed-0")
        capsys.readouterr()
        assert call(*TABLE) == 2
        text = " ".join(capsys.readouterr().out.split())
        assert re.search(rf"skipped: {busy} is in use by process \d+ on", text)
        assert len(list(RUNS.glob("*/seed-0/summary.json"))) == 1
    assert len(list(RUNS.glob("*/seed-0/summary.json"))) == 2
    assert "none left" in output(capsys, *TABLE) or "finished in" in output(capsys, *TABLE)


def test_a_quickstart_in_two_processes(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["quickstart"]
    assert recipe and quickstart.MARKER
    Path("new").mkdir()
    (Path("new") / quickstart.MARKER).write_text('{"seed": 0, "recipe": "quickstart"}')
    held = lock.Lock(Path("new"))
    assert "new is in use by process" in refused(capsys, "resume", "new")
    held.release()

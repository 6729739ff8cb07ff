"""`ckpt-chaos` in this process: its plan, kills and verdicts. Only a job is a fork here, with nothing to import."""

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from ckpt_chaos import byo, cli
from ckpt_chaos.targets.common import arm_from_env

Job = Callable[[Path], int]
VERDICTS = "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL"


@contextmanager
def forks(jobs: Mapping[str, Job], before: Path | None) -> Iterator[None]:
    """Let ckpt-chaos run the command `NAME FOLDER` as a fork of this process that calls `jobs[NAME]` with the folder.

    before: what a new folder holds beforehand; None for one that is not there.
    """

    def run(command: list[str], environment: dict[str, str], folder: str, timeout: int) -> tuple[int, str]:
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            if before and not Path(command[1]).exists():
                shutil.copytree(before, command[1])
            pid = os.fork()
            if pid == 0:
                _child(lambda: jobs[command[0]](Path(command[1])), environment, output.fileno())
            deadline = time.monotonic() + timeout
            while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return -9, "TIMEOUT"
                time.sleep(0.005)
            output.seek(0)
            return os.waitstatus_to_exitcode(ended[1]), output.read()

    with patch.object(byo, "_run", run):
        yield


def _child(job: Callable[[], int], environment: dict[str, str], output: int) -> None:
    """Be the job: armed, if the environment says so, and with its output in a file. Never returns."""
    code = 99
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, open(number, "w", buffering=1, closefd=False))  # noqa: SIM115 - until the process ends
        os.environ.clear()
        os.environ.update(environment)
        arm_from_env(0, lazy=True)
        code = job()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def verdict(
    work: Path, jobs: Mapping[str, Job], result: str, points: int, *options: str, before: Path | None = None
) -> tuple[int, str]:
    """Judge the job `learn`, killed and gone on with by `go-on`; return the exit code and the report.

    work: a new folder; result: the file below a job's folder that must be as if nothing had happened; points: how many
    kills: before a file event, in the middle of a write, with all lost that was not synced, and by SIGTERM; before: as
    for `forks`.
    """
    report = work / "report.md"
    arguments = ["run", "--work", str(work / "points"), "--summary", str(report), "--timeout", "120"]
    arguments += ["--modes", "before,torn,unsynced,term", "--max-points", str(points), "--fail-on", VERDICTS]
    arguments += ["--result-file", "{out}/" + result, "--resume-cmd", "go-on {out}", *options]
    jobs["learn"](work / "here")  # what is imported only when it is needed, is now
    with forks(jobs, before):
        code = cli.main([*arguments, "--", "learn", "{out}"])
    tails = [f.read_text() for f in sorted(work.glob("points/pt_*/result.json")) if code]
    return code, "\n".join([report.read_text(), *tails])

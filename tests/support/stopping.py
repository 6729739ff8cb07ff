"""Commands that are stopped at any moment, by a signal or for good, and gone on with. The processes are forks."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import TINY, call, results, unfinish

Capture = pytest.CaptureFixture[str]

EPOCHS = 2
# A schedule, crops, queries kept elsewhere and several steps an epoch: much that a run could forget.
STEPWISE = ("--train.epochs", EPOCHS, "--train.batch-size", "10", "--train.schedule", "cosine")
RUN = (*TINY, *STEPWISE, "--train.augment", "--train.clean-query")
STEPS = 3  # an epoch


def in_another_process(prepare: Callable[[], object], *args: object) -> int:
    """Run a command in a fork, after `prepare`; its output is in `stdout` and `stderr`. Returns as Popen.wait does."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            for name in ("stdout", "stderr"):
                setattr(sys, name, open(name, "w", buffering=1))  # noqa: SIM115 - until the process ends
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore in the background,
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this one
            prepare()
            code = call(*args)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def go_on(path: Path, capsys: Capture, whole: dict[str, bytes]) -> str:
    """Resume, or start where there is no run yet; check that nothing shows and nothing finished was done again."""
    saved = len(list(path.glob("learner/task-*.json")))
    capsys.readouterr()
    started = (path / "config.yaml").exists()
    code = call("resume", path) if started else call(*RUN, "--output", path)
    output, errors = capsys.readouterr()
    assert code == 0, errors
    assert results(path) == whole
    if started:
        found = re.search(r"resumed from task (\d+)", output)
        assert found and int(found[1]) == saved
    assert not list(path.rglob("*.tmp"))
    events = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
    kinds = [(e["event"], e["task"], e.get("epoch")) for e in events]
    for task in {e["task"] for e in events}:
        expected = [("epoch", task, epoch + 1) for epoch in range(EPOCHS)]
        expected += [("consolidation", task, None), ("evaluation", task, None)]
        assert [k for k in kinds if k[1] == task] == expected
    assert len(kinds) == 2 * (EPOCHS + 2)
    return output


class Killer:
    """Counts what a process does to files below `path` and ends it by SIGKILL just before the `number`-th.

    torn: first cut what was written last to half its size, as if the kill had come in mid-write.
    """

    def __init__(self, path: Path, number: int, torn: bool) -> None:
        self.path, self.left, self.torn = path.resolve(), number, torn
        self.last, self.kept = path / "none", 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        if not writes and event not in ("os.rename", "os.mkdir", "os.remove"):
            return
        if isinstance(args[0], int) or not (file := Path(os.fsdecode(args[0])).absolute()).is_relative_to(self.path):
            return
        if not self.left:
            if self.torn and self.last.exists():
                os.truncate(self.last, (self.kept + self.last.stat().st_size) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        if writes:
            self.last, self.kept = file, file.stat().st_size if args[2] & os.O_APPEND and file.exists() else 0


def at_call(number: int, owner: Any, name: str, act: Callable[[], object]) -> Callable[[], None]:
    """Prepare a process to `act` in the middle of its `number`-th call of `owner.name`."""

    def prepare() -> None:
        true, calls = getattr(owner, name), iter(range(1, 10**6))

        def function(*args: Any, **options: Any) -> Any:
            result = true(*args, **options)
            if next(calls) == number:
                act()
            return result

        setattr(owner, name, function)

    return prepare


def send(number: signal.Signals) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), number)


def wait_for(path: Path) -> None:
    for _ in range(20_000):
        if path.exists():
            return
        time.sleep(0.005)
    raise AssertionError(f"{path} never came")


def lose_the_last_task(run: Path) -> None:
    """Leave of a finished run what a crash after its first task would."""
    unfinish(run)
    for pattern in ("learner/*-002.*", "accuracy/*", "accuracy.json", "summary.json", "checkpoint.safetensors"):
        for file in run.glob(pattern):
            if file.name != "after-001.json":
                file.unlink()

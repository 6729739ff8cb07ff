"""Runs in processes of this machine: killed, stopped and gone on with, they give what they give one by one."""

import re
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import call, results
from softtf.errors import UserError
from softtf.runs.config import RunConfig
from softtf.sweeps import processes
from softtf.sweeps.file import read_sweep
from softtf.sweeps.job import Job
from softtf.sweeps.processes import Order, Processes
from softtf.sweeps.queue import Attempt, Queue
from softtf.sweeps.work import Outcome
from support.stopping import at_call, in_another_process, send
from support.sweeps import killer, sweep_file

JOBS = ("sweep", "small.yaml", "--jobs", 2, "--import", "killer.py")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # of an earlier test: no child of a fork's


def fail(error: Exception) -> None:
    raise error


def test_a_process_tells_a_users_error_from_a_fault_of_softtf(capsys: pytest.CaptureFixture[str]) -> None:
    def obeyed(prepare: Callable[[], object]) -> Outcome:
        return Order.of(Attempt(Job(RunConfig(), Path("run"))), prepare, 1).obey()

    assert obeyed(partial(fail, UserError("no such file"))) == Outcome("failed", "no such file")
    assert obeyed(partial(fail, TypeError("a fault\nand its stack"))) == Outcome("failed", "TypeError: a fault")
    assert "Traceback" in capsys.readouterr().err


def test_runs_at_once_are_spread_over_the_gpus_and_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: 9)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes.visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    monkeypatch.setattr(processes, "_context", Recording)
    workers = Processes(4, print)
    orders: list[Order] = []
    monkeypatch.setattr(Recording, "orders", orders)
    for number, device in enumerate(("auto", "cuda", "cpu", "auto", "cuda:1")):
        workers.begin(Attempt(Job(RunConfig(device=device), Path(str(number)))))
    assert [order.gpu for order in orders] == ["5", "3", None, "5", None]
    del workers.going[Path("1")]
    workers.begin(Attempt(Job(RunConfig(device="auto"), Path("6"))))
    assert orders[-1].gpu == "3" and {order.threads for order in orders} == {9 // 4}


def test_after_a_shortage_half_as_many_runs_go_on_at_once() -> None:
    workers, attempt = Processes(5, print), Attempt(Job(RunConfig(), Path("run")))
    assert [(workers.ease(attempt), workers.at_once) for _ in range(3)] == [
        (", at most 1 beside it", 2),
        (", at most 0 beside it", 1),
        (", at most 0 beside it", 1),
    ]


class Recording:
    """A way to make processes that makes none, and keeps their orders."""

    orders: list[Order] = []

    def Pipe(self, duplex: bool) -> tuple[SimpleNamespace, SimpleNamespace]:  # noqa: N802
        return SimpleNamespace(), SimpleNamespace(close=lambda: None)

    def Process(self, target: object, args: tuple[Order, object]) -> SimpleNamespace:  # noqa: N802
        self.orders.append(args[0])
        return SimpleNamespace(start=lambda: None)


@pytest.mark.slow
def test_killed_then_stopped_then_killed_again_all_runs_end_as_one_by_one() -> None:
    sweep_file(seeds=[0])
    killer(times=2)
    jobs = read_sweep(Path("small.yaml")).jobs(Path("runs/sweeps/small"))
    stop = at_call(1, Queue, "_again", send(signal.SIGTERM))  # when the first kill is taken up
    assert in_another_process(stop, *JOBS) == 143
    said = Path("stdout").read_text()
    assert "The same command goes on from there." in said
    assert Path("stderr").read_text().endswith("softtf: stopped\n")
    assert not any(job.finished for job in jobs) and any((job.path / "checkpoint.safetensors").exists() for job in jobs)
    assert in_another_process(lambda: None, *JOBS) == 0, Path("stderr").read_text()
    said = Path("stdout").read_text()
    assert re.search(r"its process has ended \(SIGKILL\); it goes on from its last full epoch", said)
    assert "resumed from task" in "".join(log.read_text() for log in Path("runs").glob("**/seed-*.log"))
    for job in jobs:
        alone = Path("alone") / job.path.parent.name
        assert call("run", "--config", job.path / "config.yaml", "--output", alone) == 0
        assert results(job.path) == results(alone)
    assert call("report", "runs/sweeps/small") == 0

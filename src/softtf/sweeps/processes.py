"""Runs in processes of this machine. Each has one process of its own, which ends with it and gives its memory back."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from softtf.config.tree import from_dict, to_dict
from softtf.runs.config import RunConfig
from softtf.screen import Screen
from softtf.sweeps.job import Job
from softtf.sweeps.queue import TRIES, Attempt
from softtf.sweeps.work import Outcome, do, fault_of, outcome_of

WAIT = 1.0
"""Seconds between two looks at what the runs do."""
GRACE = 30.0
"""Seconds that a run has to stop; it stops at its next line of Python."""


@dataclass(frozen=True)
class Order:
    """What a process is told; plain, as classes of the user's own are unknown to it before `prepare`.

    Attributes:
        config: the run's settings.
        path: its folder.
        url: where the folder's copy is that counts, if the output is at a URL.
        cwd: the working directory, from which paths lead that are not full.
        batch_size: of scoring, if it is another than the run's.
        prepare: is called first, and imports files of the user's.
        threads: how many it may use.
        gpu: the one GPU that it sees, as CUDA_VISIBLE_DEVICES names it; None: all.
    """

    config: dict[str, Any]
    path: Path
    url: str | None
    cwd: Path
    batch_size: int | None
    prepare: Callable[[], object]
    threads: int
    gpu: str | None = None

    @classmethod
    def of(cls, attempt: Attempt, prepare: Callable[[], object], threads: int, gpus: Sequence[str] = ()) -> "Order":
        """Return the order to do a run; it sees the first of `gpus`, unless it wants a certain device."""
        job = attempt.job
        gpu = gpus[0] if gpus and job.config.device in ("auto", "cuda") else None
        return cls(to_dict(job.config), job.path, job.url, Path.cwd(), attempt.batch_size, prepare, threads, gpu)

    def obey(self) -> Outcome:
        """Do the run, and return how it ended; a fault of softtf is printed, and fails it too."""
        os.chdir(self.cwd)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        try:
            return outcome_of(self._act)
        except Exception as error:
            traceback.print_exc()
            return fault_of(error)

    def _act(self) -> None:
        self.prepare()
        torch.set_num_threads(self.threads)
        do(Job(from_dict(RunConfig, self.config), self.path, url=self.url), Screen(), self.batch_size)


class Processes:
    """Does runs in processes of this machine; what each prints is in a file beside its folder.

    Args:
        places: how many at once; they share the cores, and each has one GPU, of which several may have the same.
        prepare: is called in each process first; it can be pickled.
    """

    apart, patience, elsewhere = True, TRIES, False

    def __init__(self, places: int, prepare: Callable[[], object]) -> None:
        self.places, self.prepare = places, prepare
        self.threads = max(1, torch.get_num_threads() // places)
        self.going: dict[Path, tuple[BaseProcess, Connection]] = {}
        self.gpus: dict[Path, str | None] = {}
        self.context = _context()

    @property
    def at_once(self) -> int:
        """How many processes there may be."""
        return self.places

    def begin(self, attempt: Attempt) -> None:
        """Start a process for a run."""
        ours, theirs = self.context.Pipe(duplex=False)
        taken = [self.gpus[path] for path in self.going]
        order = Order.of(attempt, self.prepare, self.threads, sorted(visible_gpus(), key=taken.count))
        self.gpus[attempt.job.path] = order.gpu
        process: BaseProcess = self.context.Process(target=_work, args=(order, theirs))  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self.going[attempt.job.path] = (process, ours)

    def ended(self) -> list[tuple[Path, Outcome]]:
        """Wait until a process ends, at most WAIT seconds."""
        ready = wait([process.sentinel for process, _ in self.going.values()], WAIT)
        found = []
        for path, (process, ours) in list(self.going.items()):
            if process.sentinel in ready:
                process.join()
                found.append((path, _outcome(process, ours)))
                del self.going[path]
        return found

    def ease(self, attempt: Attempt) -> str:
        """Take half of the places away: fewer runs share the memory."""
        self.places = max(1, self.places // 2)
        return f", at most {self.places - 1} beside it"

    def stop(self) -> None:
        """Ask every process to stop, and end those that do not."""
        for process, _ in self.going.values():
            process.terminate()
        for process, _ in self.going.values():
            process.join(GRACE)
            process.kill()
            process.join()
        self.going.clear()


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def log_file(path: Path) -> Path:
    """Return the file beside a run's folder that has what its processes printed."""
    return path.with_name(f"{path.name}.log")


def _context() -> BaseContext:
    """Return how processes are made: where it can be, as forks of one that has imported softtf and does nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _outcome(process: BaseProcess, ours: Connection) -> Outcome:
    """Return what a process that has ended said of its run."""
    try:
        with ours:
            found: Outcome = ours.recv()
            return found
    except EOFError:
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome("killed", f"its process has ended ({how})")


def _work(order: Order, theirs: Connection) -> None:
    """Do a run in a process that was made for it."""
    signal.signal(signal.SIGTERM, _stop)
    for name in ("SIGINT", "SIGHUP"):  # of a terminal: the process that started this one obeys, and sends SIGTERM
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    print_into(log_file(order.cwd / order.path))
    try:
        theirs.send(order.obey())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)


def print_into(log: Path) -> None:
    """Append what this process prints from now on to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = open(log, "a", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - until the end
    for descriptor in (1, 2):
        os.dup2(file.fileno(), descriptor)
    sys.stdout = sys.stderr = file


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: something may be cleaned up
    raise KeyboardInterrupt


def _stop_with_parent() -> None:
    """Stop this process when the one that started it is gone, however it went: the same command may be given again."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

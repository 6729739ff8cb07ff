"""Run a function in several processes of one run, connected by gloo, as a launcher would start them.

The processes are forked from a server that has loaded torch and softtf once; it has no threads that a fork would lose.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Work = Callable[[Path], None]
"""What a process does; it may write what it found below the folder that it gets."""


def start(count: int, work: Work, folder: Path) -> list[Any]:
    """Start the processes; each gets a folder of its own, `folder`/0, 1, ..., with its output in `out` and `err`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.several", "contracts.cases", "cli"])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    for number in range(count):
        own = folder / str(number)
        own.mkdir(parents=True)
        processes.append(context.Process(target=_one, args=(number, count, port, work, own)))
        processes[-1].start()
    return processes


def several(count: int, work: Work, folder: Path, seconds: float = 120) -> list[int]:
    """Run a function in so many processes to the end, and return their exit codes."""
    processes = start(count, work, folder)
    return ended(processes, seconds)


def ended(processes: list[Any], seconds: float = 120) -> list[int]:
    """Wait for processes, and return their exit codes; one that hangs is killed."""
    for process in processes:
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def _one(number: int, count: int, port: int, work: Work, folder: Path) -> None:
    launcher = {"RANK": number, "WORLD_SIZE": count, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": count}
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ |= {name: str(value) for name, value in (launcher | place).items()}
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
    torch.set_num_threads(1)
    work(folder)

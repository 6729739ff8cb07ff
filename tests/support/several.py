"""Run a function in several processes of one run, as `torchrun` would start them; they are connected by gloo.

The processes are forked from a server that has loaded torch and softtf once; it has no threads that a fork would lose.
"""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

Work = Callable[[Path], None]
"""What a process does; it may write what it found below the folder that it gets."""


def several(count: int, work: Work, folder: Path, seconds: float = 600) -> list[int]:
    """Run a function in so many processes, and return their exit codes; one that hangs is killed.

    Each gets a folder of its own, `folder`/0, 1, ..., with what it prints in `out` and `err`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.several", "contracts.cases", "cli"])
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    processes: list[Any] = []
    for number in range(count):
        own = folder / str(number)
        own.mkdir(parents=True)
        processes.append(context.Process(target=_one, args=(number, count, store.port, work, own)))
        processes[-1].start()
    for process in processes:
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def _one(number: int, count: int, port: int, work: Work, folder: Path) -> None:
    launcher = {"RANK": number, "WORLD_SIZE": count, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": count}
    launcher |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ |= {name: str(value) for name, value in launcher.items()} | {"OMP_NUM_THREADS": "1"}
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
    torch.set_num_threads(1)
    work(folder)

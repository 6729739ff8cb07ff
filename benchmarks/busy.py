"""`python -m benchmarks.busy`: training beside two processes that never rest, by how OpenMP's threads wait.

A thread that has done its part of a matrix product waits for the others. By default it spins, and so takes the
processor time that the others need. With OMP_WAIT_POLICY=passive it sleeps. The command `softtf` lets it spin for some
microseconds first (`softtf.devices.waiting`). No sum changes.
Each way runs in a process of its own, as the setting is read when torch is loaded; a process that takes longer than
`--limit` seconds is stopped.
"""

import argparse
import os
import resource
import subprocess  # nosec B404 # of this very module
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from softtf.devices.waiting import waiting

WAYS = {"spinning": {}, "passive": {"OMP_WAIT_POLICY": "passive"}, "softtf": waiting({})}
EPOCHS = 3


def trained() -> tuple[float, float]:
    """Return wall and processor seconds of two steps on the bundled ViT, the least of a few rounds."""
    from benchmarks.setup import CPU, learner_with
    from benchmarks.training import begin

    setup = CPU["bundled"]
    training = begin(learner_with(setup.load(), 0), setup.batches[0], 2)
    training.run_epoch()
    found = []
    for _ in range(EPOCHS):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        training.run_epoch()
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - start, seconds))
    return min(found)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Within the block, `count` processes take all the processor time that they get."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]  # nosec B603
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(way: str, threads: int, limit: float) -> tuple[float, float] | None:
    """Return what `trained` returns in a process of its own; None if that takes too long."""
    without = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    environment = without | WAYS[way] | {"OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, "-m", "benchmarks.busy", "--child"]
    try:
        done = subprocess.run(words, env=environment, capture_output=True, timeout=limit, check=True)  # nosec B603
    except subprocess.TimeoutExpired:
        return None
    wall, processor = map(float, done.stdout.split())
    return wall, processor


def main(args: list[str]) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds that a process may take")
    given = parser.parse_args(args)
    if given.child:
        print(*trained())
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"bundled ViT, batch 24, two training steps, {cores} cores\n")
    print("| busy processes beside it | threads | waiting | seconds | processor seconds |")
    print("| ---: | ---: | --- | ---: | ---: |")
    for others in (0, cores):
        with busy(others):
            for way, threads in (("spinning", cores), ("passive", cores), ("softtf", cores), ("softtf", 1)):
                found = measured(way, threads, given.limit)
                shown = f"over {given.limit:g} in all | " if found is None else f"{found[0]:.2f} | {found[1]:.2f}"
                print(f"| {others} | {threads} | {way} | {shown} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

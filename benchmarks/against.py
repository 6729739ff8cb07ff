"""`python -m benchmarks --against FOLDER`: softtf beside a checkout of the published Soft-TF code, in pairs of calls.

Both run on ViT-B/16 with random weights, on the CPU, in processes of their own, with the same libraries and as many
threads. A step of training and an answer are for a batch of 24, in the paper's configuration. The published code names
one task for the batch (Gradient ID from seven of its images), softtf one for each sample. What counts is the processor
seconds, the least of the rounds, so that other work on the machine matters little.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.calls import Spent
from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup
from benchmarks.timing import LONG
from softtf.errors import UserError
from softtf.inference.policy import Policy

FILES = ("engine.py", "vision_transformer.py", "subnet.py", "configs/cifar100_10_dualprompt_pgp.py")
TRAININGS = {  # to the precision and the number of `benchmarks.training.VARIANTS`
    "float32": ("float32", "0"),
    "auto": ("auto", "0"),
    "auto, clean queries": ("auto", "1"),
    "auto, clean queries, G-prompt frozen": ("auto", "2"),
}
TASKS = (5, 20)
AT_LEAST = {"float32": 1.5, "auto, clean queries, G-prompt frozen": 4, "gradient-id": 3}  # times as fast


@dataclass(frozen=True)
class Side:
    """The process of one side."""

    process: "subprocess.Popen[str]"

    def spent(self, call: str) -> Spent:
        """Return what a call takes.

        Raises:
            UserError: the process ended.
        """
        assert self.process.stdin is not None
        print(call, file=self.process.stdin, flush=True)
        seconds, peak = self.line().split()
        return Spent(float(seconds), int(peak))

    def line(self) -> str:
        """Return the next line that the process prints; raises UserError if it ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise UserError("the process of one side ended; what it printed is above")
        return line


@contextmanager
def started(module: str, *words: str) -> Iterator[Side]:
    """Run a module of the benchmarks as one side, until the block ends."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        side = Side(process)
        side.line()
        yield side
    finally:
        process.kill()
        process.wait()


def check(folder: Path) -> None:
    """Refuse a folder that is no checkout of the published code.

    Raises:
        UserError: a file is missing, or einops is, which the checkout needs.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UserError(f"{folder} is no checkout of github.com/ihaeyong/Soft-TF: there is no {missing[0]}")
    if find_spec("einops") is None:
        raise UserError("the published code needs einops: pip install einops")


def measure(setup: Setup, folder: Path) -> Iterator[Result]:
    """Measure training and both inferences of both sides, in turns; setup: the sizes."""
    batch, threads = str(setup.batches[0]), str(torch.get_num_threads())
    tasks = [count for count in TASKS if count <= max(setup.tasks)] or [min(setup.tasks)]
    answers = [f"{name} {count}" for name in ("prompt-id", "gradient-id") for count in tasks]
    with started("published", str(folder.absolute()), batch, threads) as theirs:
        for name, settings in TRAININGS.items():
            with started("ours", batch, threads, *settings) as ours:
                (mine, our_peak), (its, their_peak) = in_turns(ours, theirs, "train", setup.rounds)
            yield Row(f"training step, batch {batch}, {name} (twin: published)", mine, its)
            yield Target(f"training step, {name}, by the published code's", its / mine, at_least=AT_LEAST.get(name))
            if name == "float32":
                yield Target("peak memory of training by the published code's", our_peak / their_peak, at_most=0.5)
        with started("ours", batch, threads, *TRAININGS["float32"]) as ours:
            (naive, _), (its, _) = in_turns(ours, theirs, "twin", setup.rounds, "train")
            yield Row(f"training step of the twin, batch {batch}, float32 (twin: published)", naive, its)
            for call in answers:
                (mine, _), (its, _) = in_turns(ours, theirs, call, setup.rounds)
                policy, count = call.split()
                words = f"{Policy(policy).title()}, batch {batch}, T = {count}, float32"
                yield Row(f"{words} (twin: published, one task a batch)", mine, its)
                yield Target(f"{words}, by the published code's", its / mine, at_least=AT_LEAST.get(policy))


def in_turns(ours: Side, theirs: Side, call: str, rounds: int, their_call: str | None = None) -> tuple[Spent, Spent]:
    """Return the least of both sides over some rounds, or over one if it is long, after one that does not count.

    their_call: the call of the other side, if it is not the same.
    """
    other = their_call or call
    found = [(ours.spent(call), theirs.spent(other))]
    while len(found) < 2 or (len(found) <= rounds and found[-1][1].seconds < LONG):
        found.append((ours.spent(call), theirs.spent(other)))
    return min(mine for mine, _ in found[1:]), min(its for _, its in found[1:])

"""`python -m benchmarks.batches [SIZE ...]`: what scoring takes by its batch, in processor seconds and fresh pages.

Processor seconds (user + system) and page faults say something on a machine that is busy with others, too.
"""

import argparse
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.inference import POLICIES, one_tasks_test, spreading, varied_pictures
from benchmarks.setup import CPU, learner_with
from softtf.evaluation.evaluate import evaluate

SIZES = (24, 48, 60, 72, 120, 240)
IMAGES = 240
TASKS = 10
ROUNDS = 2


@dataclass(frozen=True, order=True)
class Use:
    """What a call took: seconds of all threads in user and kernel code, and pages that the kernel had to find."""

    seconds: float
    system: float
    faults: int


def use_of(call: Callable[[], object]) -> Use:
    """Run the call and return what it took."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    call()
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    return Use(after.ru_utime - before.ru_utime + system, system, after.ru_minflt - before.ru_minflt)


def measure(sizes: tuple[int, ...], images: int = IMAGES, tasks: int = TASKS, rounds: int = ROUNDS) -> dict[int, Use]:
    """Return the least that scoring `images` images under all three policies took, by batch; the sizes take turns."""
    backbone = CPU["bundled"].load()
    pictures = varied_pictures(images, backbone.preparation.size)
    learner = learner_with(backbone, tasks, spreading(backbone, pictures))
    data = one_tasks_test(learner, pictures)
    labels, policies = torch.arange(learner.num_classes), list(POLICIES.values())
    best: dict[int, Use] = {}
    for number in range(rounds + 1):  # the first one loads the images and does not count
        for size in sizes:
            data.loader.batch_size = size
            found = use_of(lambda n=size: evaluate(learner, data, labels, policies, batch_size=n))
            if number:
                best[size] = min(best.get(size, found), found)
    return best


def main(args: list[str]) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=main.__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="of batches")
    sizes = tuple(parser.parse_args(args).sizes)
    print(f"{IMAGES} images, bundled ViT, T = {TASKS}, float32, {torch.get_num_threads()} threads")
    print("| batch | processor seconds | of these in the kernel | page faults |\n| ---: | ---: | ---: | ---: |")
    for size, use in measure(sizes).items():
        print(f"| {size} | {use.seconds:.2f} | {use.system:.2f} | {use.faults:,} |")


if __name__ == "__main__":
    main(sys.argv[1:])

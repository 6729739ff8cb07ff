"""Prediction of a batch whose samples belong to different tasks that are known, as a service meets them.

`python -m benchmarks.mixed [bundled|vit-b] [ROUNDS]` counts processor seconds, which say something on a busy machine,
too.
"""

import argparse
import sys
from collections.abc import Callable, Iterator

import torch

from benchmarks import floors
from benchmarks.batches import use_of
from benchmarks.inference import varied_pictures
from benchmarks.results import Result, Row, Target
from benchmarks.setup import CPU, Setup, learner_with
from benchmarks.timing import in_turns, matrix_rate
from softtf.inference.policy import Policy
from softtf.inference.predict import predict, test_loader
from softtf.learners import Learner
from softtf.network import SharedPass
from softtf.streams import Examples

BATCH = 48
FROZEN, ONE, FOUR, EACH = "frozen backbone", "one task", "four samples a task", "every sample on another task"
AT_LEAST = {FOUR: 0.9, EACH: 0.75}  # of the speed of one task; of that of the frozen backbone


def calls_of(setup: Setup) -> tuple[Learner, int, dict[str, Callable[[], object]]]:
    """Return a learner of as many tasks as a batch has images, their number, and what is compared."""
    backbone = setup.load()
    count = min(BATCH, setup.test_images)
    pictures = varied_pictures(count, backbone.preparation.size)
    learner = learner_with(backbone, count)
    loader = test_loader(Examples(list(pictures), [0] * count, "pictures"), backbone, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def frozen() -> None:
        for inputs in loader.batches():
            _ = SharedPass(learner.network, inputs).query

    def ours(together: int) -> Callable[[], object]:
        tasks = (order // together).tolist()
        return lambda: predict(learner, loader, Policy("oracle"), task=tasks)

    frozen()  # loads the images
    return learner, count, {FROZEN: frozen, ONE: ours(count), FOUR: ours(4), EACH: ours(1)}


def measure(setup: Setup) -> Iterator[Result]:
    """Measure one batch with the task of each sample given, against the frozen backbone alone."""
    learner, count, calls = calls_of(setup)
    times = in_turns(calls, setup.device, setup.seconds, setup.rounds)
    floor = count * floors.oracle(floors.shape_of(learner)) / matrix_rate(torch.float32, setup.device)
    where = f"{setup.title}, float32, a batch of {count} images, task given"
    for name in (ONE, FOUR, EACH):
        yield Row(f"{name}, {where} (twin: the frozen backbone)", times[name], times[FROZEN], floor)
    for name, base in ((FOUR, ONE), (EACH, FROZEN)):
        yield Target(f"{where}: speed of {name} by that of {base}", times[base] / times[name], at_least=AT_LEAST[name])


def main(args: list[str]) -> None:
    """Print processor seconds, the least of some rounds, and the two ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description=main.__doc__)
    parser.add_argument("backbone", nargs="?", choices=CPU, default="bundled")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    given = parser.parse_args(args)
    setup, rounds = CPU[given.backbone], given.rounds
    _, count, calls = calls_of(setup)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], use_of(call).seconds)
    print(
        f"{setup.title}, {count} images, {torch.get_num_threads()} threads, least processor seconds of {rounds} rounds"
    )
    print(*(f"- {name}: {seconds:.3f} s" for name, seconds in best.items()), sep="\n")
    for name, base in ((FOUR, ONE), (EACH, FROZEN)):
        print(f"- speed of {name} by that of {base}: {best[base] / best[name]:.2f} (at least {AT_LEAST[name]})")


if __name__ == "__main__":
    main(sys.argv[1:])

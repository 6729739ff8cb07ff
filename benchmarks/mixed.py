"""Prediction of a batch whose samples belong to different tasks that are known, as a service meets them."""

from collections.abc import Callable, Iterator

import torch

from benchmarks import floors
from benchmarks.inference import varied_pictures
from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup, learner_with
from benchmarks.timing import in_turns, matrix_rate
from softtf.inference.policy import Policy
from softtf.inference.predict import predict, test_loader
from softtf.network import SharedPass
from softtf.streams import Examples

BATCH = 48
TOGETHER = {"one task": None, "four samples a task": 4, "every sample on another task": 1}
AT_LEAST = {4: 0.9, 1: 0.75}  # of the speed of one task; of that of the frozen backbone


def measure(setup: Setup) -> Iterator[Result]:
    """Measure one batch with the task of each sample given, against the frozen backbone alone."""
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

    def ours(together: int | None) -> Callable[[], object]:
        tasks = (order // (together or count)).tolist()
        return lambda: predict(learner, loader, Policy("oracle"), task=tasks)

    calls = {name: ours(together) for name, together in TOGETHER.items()} | {"frozen": frozen}
    frozen()  # loads the images
    times = in_turns(calls, setup.device, setup.seconds, setup.rounds)
    floor = count * floors.oracle(floors.shape_of(learner)) / matrix_rate(torch.float32, setup.device)
    where = f"{setup.title}, float32, a batch of {count} images, task given"
    for name in TOGETHER:
        yield Row(f"{name}, {where} (twin: the frozen backbone)", times[name], times["frozen"], floor)
    for name, together in TOGETHER.items():
        if together == 4:
            yield Target(f"{where}: {name} by one task", times["one task"] / times[name], at_least=AT_LEAST[4])
        if together == 1:
            yield Target(f"{where}: {name} by the frozen backbone", times["frozen"] / times[name], at_least=AT_LEAST[1])

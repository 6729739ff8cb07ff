"""One training step as `softtf run` takes it, against the twin's and the floor."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks import floors
from benchmarks.results import Result, Row, Target
from benchmarks.setup import CLASSES, Setup, learner_with
from benchmarks.timing import in_turns, matrix_rate
from benchmarks.twin import TwinTraining, twin_of
from softtf.classes import ClassTable
from softtf.feeding import begin_training
from softtf.learners import Learner
from softtf.streams import Examples, Loader
from softtf.training import TaskTraining, TrainConfig

VISITS = 1_000_000  # of images in the 10-split CIFAR-100 run: 50,000 images, 20 epochs
RATE = 1e-3  # small, so that steps on noise stay finite


class Replayed:
    """A loader whose batches were made once: what a step takes without what making its batch takes."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.batches = list(loader.epoch(0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, seed: int) -> Iterator[Any]:
        """Yield the same batches again."""
        yield from self.batches


def begin(learner: Learner, batch: int, steps: int) -> TaskTraining:
    """Open the learner's next task and return its training, `steps` batches of noise an epoch."""
    size = learner.network.backbone.preparation.size
    pixels = torch.randint(0, 256, (batch * steps, size, size, 3), dtype=torch.uint8)
    examples = Examples(list(pixels), [i % CLASSES for i in range(batch * steps)], "noise")
    training = begin_training(learner, ClassTable(), examples, "task", TrainConfig(batch_size=batch))
    training.loader = Replayed(training.loader)
    for group in training.optimizer.param_groups:
        group["lr"] = RATE
    return training


def pairs(training: TaskTraining) -> list[tuple[Tensor, Tensor]]:
    """Return the images and targets of a training's batches."""
    return [(images, targets) for images, targets in training.loader.batches]


def measure(setup: Setup) -> Iterator[Result]:
    """Measure every batch size, one task, from noise in memory to the optimizer's step."""
    backbone = setup.load()
    best: dict[str, float] = {}
    share = 0.0
    for batch in setup.batches:
        learner = learner_with(backbone, 0)
        training = begin(learner, batch, setup.steps)
        naive = TwinTraining(twin_of(learner), RATE)
        batches = pairs(training)
        calls = {"ours": training.run_epoch, "twin": lambda n=naive, b=batches: n.run(b)}
        times = {n: t / setup.steps for n, t in in_turns(calls, setup.device, setup.seconds, setup.rounds).items()}
        floor = batch * floors.training_step(floors.shape_of(learner)) / matrix_rate(training.dtype, setup.device)
        kind = str(training.dtype).removeprefix("torch.")
        yield Row(f"training step, {setup.title}, batch {batch}, {kind}", times["ours"], times["twin"], floor)
        best = {n: max(best.get(n, 0.0), batch / t) for n, t in times.items()}
        share = max(share, floor / times["ours"])
    # A place for further variants of the step (a query that is known already): one Row each, with its own floor.
    yield from targets(setup, best, share)


def targets(setup: Setup, images_per_second: dict[str, float], share: float) -> Iterator[Target]:
    """Compare the best batch sizes, ours and the twin's, with what ViT-B/16 was to reach."""
    ours, twin = images_per_second["ours"], images_per_second["twin"]
    times = (6 if setup.gpu else 3) if setup.papers else None
    yield Target(f"training, {setup.title}: images a second", ours)
    yield Target(f"training, {setup.title}: times the twin", ours / twin, at_least=times)
    if setup.gpu and setup.papers:
        yield Target(f"training, {setup.title}: share of the matrix rate", share, at_least=0.4)
        yield Target("10-split CIFAR-100, 1,000,000 visits by the step alone", VISITS / ours, at_most=600, unit=" s")

"""One training step as `softtf run` takes it, against the twin's and the floor."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks import floors
from benchmarks.results import Result, Row, Target
from benchmarks.setup import CLASSES, METHOD, Setup, learner_with
from benchmarks.timing import in_turns, matrix_rate
from benchmarks.twin import TwinTraining, twin_of
from softtf.backbones import Backbone
from softtf.devices.device import Precision
from softtf.learners import Learner
from softtf.learners.class_table import ClassTable
from softtf.streams import Examples, Loader
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining

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

    def epoch(self, seed: int, part: object = None) -> Iterator[Any]:
        """Yield the same batches again."""
        yield from self.batches


@dataclass(frozen=True)
class Variant:
    """A way to train: as the paper does, or with less work at each step.

    Attributes:
        name: for the table.
        clean_query: keys are matched with the unaugmented images' queries, computed before.
        frozen: the G-prompt is trained in the first task only, and this is the second.
        record: whether a GPU records the step (`TrainConfig.record`).
        precision: of the matrix products; `auto` is that of the default.
    """

    name: str = ""
    clean_query: bool = False
    frozen: bool = False
    record: bool = True
    precision: Precision = "auto"

    def learner(self, backbone: Backbone) -> Learner:
        """Return the learner before the task that is measured."""
        return learner_with(backbone, int(self.frozen), method=replace(METHOD, freeze_g_after_first=self.frozen))

    def begin(self, backbone: Backbone, batch: int, steps: int, **options: Any) -> TaskTraining:
        """Return the training of a task in this way; options are those of `begin`."""
        own = {"precision": self.precision, "record": self.record}
        return begin(self.learner(backbone), batch, steps, self.clean_query, **own | options)

    def floor(self, shape: floors.Shape) -> int:
        """Return the multiply-adds of a step on one image."""
        return floors.training_step(shape, shape.first_task if self.frozen else None, query=not self.clean_query)


PAPERS = Variant()
UNRECORDED = Variant(", not recorded", record=False)
FLOAT32 = Variant(", no mixed precision", precision="float32")
VARIANTS = (PAPERS, Variant(", clean queries", True), Variant(", clean queries, G-prompt frozen", True, True))


def begin(
    learner: Learner,
    batch: int,
    steps: int,
    clean_query: bool = False,
    precision: Precision = "auto",
    side: int | None = None,
    replayed: bool = True,
    record: bool = True,
) -> TaskTraining:
    """Open the learner's next task and return its training, `steps` batches of noise an epoch.

    side: of the images; None is the backbone's. replayed: whether the batches are made once, and not in each epoch.
    record: whether a GPU records the step (`TrainConfig.record`).
    """
    size = side or learner.network.backbone.preparation.size
    pixels = torch.randint(0, 256, (batch * steps, size, size, 3), dtype=torch.uint8)
    classes = ClassTable()
    for task in range(learner.num_tasks):
        classes.add([(task, i) for i in range(CLASSES)], f"task {task + 1}")
    labels = [(learner.num_tasks, i % CLASSES) for i in range(batch * steps)]
    examples = Examples(list(pixels), labels, "noise")
    rate = RATE * 256 / batch
    config = TrainConfig(
        batch_size=batch, learning_rate=rate, clean_query=clean_query, precision=precision, record=record
    )
    training = begin_training(learner, classes, examples, "task", config)
    if replayed:
        training.loader = Replayed(training.loader)
    if training.queries:
        with learner.computing_in(training.dtype):
            training.queries.get()
    return training


def pairs(training: TaskTraining) -> list[tuple[Tensor, Tensor]]:
    """Return the images of a training's batches, and the columns of its own head that are right."""
    return [(images, training.learner.own(targets)) for images, targets, _ in training.loader.batches]


def ways(setup: Setup, variants: tuple[Variant, ...] = VARIANTS) -> tuple[Variant, ...]:
    """Return the ways to train that are compared; on a GPU also without a recorded step."""
    return (*variants, UNRECORDED) if setup.gpu else variants


def measure(setup: Setup) -> Iterator[Result]:
    """Measure every batch size and variant, from a batch on the device to the optimizer's step."""
    backbone = setup.load()
    best: dict[str, float] = {}
    share = 0.0
    for batch in setup.batches:
        trainings = {v: v.begin(backbone, batch, setup.steps) for v in (*ways(setup), FLOAT32)}
        plain = trainings[PAPERS]
        naive, batches = TwinTraining(twin_of(plain.learner), RATE), pairs(plain)
        calls = {v.name: training.run_epoch for v, training in trainings.items()}
        calls["twin"] = lambda n=naive, b=batches: n.run(b)
        times = {n: t / setup.steps for n, t in in_turns(calls, setup.device, setup.seconds, setup.rounds).items()}
        for v, training in trainings.items():
            rate, kind = matrix_rate(training.dtype, setup.device), str(training.dtype).removeprefix("torch.")
            floor = batch * v.floor(floors.shape_of(training.learner)) / rate
            row = f"training step{v.name}, {setup.title}, batch {batch}, {kind}"
            yield Row(row, times[v.name], times["twin"], floor)
            share = max(share, floor / times[v.name]) if v == PAPERS else share
        for name in (PAPERS.name, "twin"):
            best[name] = max(best.get(name, 0.0), batch / times[name])
    yield from targets(setup, best[PAPERS.name], best["twin"], share)


def targets(setup: Setup, ours: float, twin: float, share: float) -> Iterator[Target]:
    """Compare images a second at the best batch sizes, ours and the twin's, with what ViT-B/16 was to reach."""
    times = (6 if setup.gpu else 3) if setup.papers else None
    yield Target(f"training, {setup.title}: images a second", ours)
    yield Target(f"training, {setup.title}: times the twin", ours / twin, at_least=times)
    if setup.gpu and setup.papers:
        yield Target(f"training, {setup.title}: share of the matrix rate", share, at_least=0.4)
        yield Target("10-split CIFAR-100, 1,000,000 visits by the step alone", VISITS / ours, at_most=600, unit=" s")

"""Epochs of the recipe as `softtf run` trains them, from images in memory to the checkpoint, and how a device waits.

Images of 32 x 32 pixels, as CIFAR-100's, are cropped and enlarged for each step; the images and their labels are noise.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import floors
from benchmarks.results import Result, Row, Target
from benchmarks.setup import METHOD, Setup
from benchmarks.timing import busy_seconds, in_turns, matrix_rate
from benchmarks.training import PAPERS, VARIANTS, VISITS, Variant, ways
from softtf.backbones import Backbone
from softtf.classifier import ContinualClassifier
from softtf.runs.folder import RunFolder

SIDE = 32  # of CIFAR-100's images
EPOCHS = 200  # of the 10-split run, each with its checkpoint
LONGER = 4  # epochs have so many times the steps that are timed elsewhere


def measure(setup: Setup) -> Iterator[Result]:
    """Measure the paper's way to train and the default's, with the recipe's batch and with the largest."""
    backbone = setup.load()
    for variant in ways(setup, (PAPERS, VARIANTS[-1])):
        image = {}
        for batch in dict.fromkeys((setup.batches[0], setup.batches[-1])):
            *results, row = epoch(setup, backbone, variant, batch)
            assert isinstance(row, Row)
            image[batch] = row.ours
            yield from (row, *results)
        saving = checkpoint(setup, backbone, variant)
        yield Row(f"a checkpoint{variant.name}, {setup.title}", saving)
        whole, limit = VISITS * image[setup.batches[0]] + EPOCHS * saving, 600 if setup.gpu and setup.papers else None
        name = f"10-split CIFAR-100{variant.name}, {setup.title}, {VISITS:,} visits and {EPOCHS} checkpoints"
        yield Target(name, whole, at_most=limit, unit=" s")


def epoch(setup: Setup, backbone: Backbone, variant: Variant, batch: int) -> Iterator[Result]:
    """Compare epochs with the machine's matrix rate and with the time that its device works; the row comes last."""
    steps = LONGER * setup.steps
    training = variant.begin(backbone, batch, steps, side=SIDE, replayed=False)
    training.run_epoch()  # fills the cache
    calls = {"epoch": training.run_epoch}
    seconds = in_turns(calls, setup.device, setup.seconds, setup.rounds)["epoch"] / (batch * steps)
    busy = busy_seconds(training.run_epoch, setup.device) / (batch * steps)
    floor = variant.floor(floors.shape_of(training.learner)) / matrix_rate(training.dtype, setup.device)
    kind = str(training.dtype).removeprefix("torch.")
    which = f"recipe{variant.name}, {setup.title}, batch {batch}"
    least = 0.4 if setup.gpu and setup.papers and variant == PAPERS else None
    yield Target(f"{which}: images a second", 1 / seconds)
    yield Target(f"{which}: share of the matrix rate", floor / seconds, at_least=least)
    yield Target(f"{which}: share of the time in which the device waits for the host", max(0.0, 1 - busy / seconds))
    yield Row(f"an image in an epoch of the {which}, {kind}", seconds, None, floor)


def checkpoint(setup: Setup, backbone: Backbone, variant: Variant) -> float:
    """Return the seconds that the checkpoint of an epoch takes, in the system's folder for temporary files."""
    training = variant.begin(backbone, setup.batches[0], 1, side=SIDE, replayed=False)
    training.run_epoch()
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        ContinualClassifier(backbone, METHOD, device=str(setup.device)).header.write(run.learner)
        calls = {"checkpoint": lambda: run.save_checkpoint(0, training.state())}
        return in_turns(calls, setup.device, setup.seconds / 5, setup.rounds)["checkpoint"]

"""Loading against learning: decoding, cropping and resizing by the `Loader` that feeds `softtf run`, per image.

On a CPU the twin loads as public implementations do: by torchvision's transforms, one PIL image after the other.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup, learner_with
from benchmarks.timing import in_turns
from benchmarks.training import begin
from softtf.streams import Examples, Loader
from softtf.streams.images import ImagePreparation

SMALL = {"PNG 32 x 32": ("PNG", 32, 32)}  # CIFAR-100's
LARGE = {"JPEG 4000 x 3000": ("JPEG", 4000, 3000)}  # never kept: each epoch decodes what its crops show
SOURCES = {"JPEG 224 x 224": ("JPEG", 224, 224), "JPEG 500 x 375": ("JPEG", 500, 375)} | LARGE | SMALL


def measure(setup: Setup) -> Iterator[Result]:
    """Measure the first epoch (from files) and later ones (from memory), and the training step they must feed."""
    backbone = setup.load()
    batch = max(setup.batches)
    training = begin(learner_with(backbone, 0), batch, setup.steps)
    step = training.run_epoch
    times = in_turns({"step": step}, setup.device, setup.seconds / 2, setup.rounds)
    learning = times["step"] / (batch * setup.steps)
    yield Row(f"training step, {setup.title}, batch {batch}, an image", learning)
    for name, (kind, width, height) in (SOURCES if setup.papers else SMALL).items():
        files = encoded(min(setup.files, batch) if name in LARGE else setup.files, kind, width, height)
        yield from loading(setup, name, files, backbone.preparation, batch, learning)


def loading(
    setup: Setup, name: str, files: list[bytes], preparation: Any, batch: int, learning: float
) -> Iterator[Result]:
    """Compare the loader with the twin on the same files; `learning`: seconds that the step takes for an image."""
    assert isinstance(preparation, ImagePreparation)
    fresh, kept = (loader(setup, files, preparation, batch, cache_bytes=b) for b in (0, 2**33))
    calls = {
        "files": lambda: [None for _ in fresh.epoch(0)],
        "memory": lambda: [None for _ in kept.epoch(0)],
    }
    if not setup.gpu:  # beside a GPU public implementations use several processes, too
        calls["twin"] = naive(files, preparation, batch, setup.device)
    calls["memory"]()  # fills it
    times = {n: t / len(files) for n, t in in_turns(calls, setup.device, setup.seconds / 2, setup.rounds).items()}
    what = {"files": "decoded, resized, augmented", "memory": "augmented, decoded before"}
    for part, text in what.items():
        yield Row(f"an image {text}, {name}, for {setup.title}", times[part], times.get("twin"))
    least = 2 if setup.gpu else 10
    for part in what:
        which = f"data, {name} from {part}, for {setup.title}"
        yield Target(f"{which}: images a second", 1 / times[part])
        yield Target(f"{which}: times the training step's rate", learning / times[part], at_least=least)


def loader(setup: Setup, files: list[bytes], preparation: ImagePreparation, batch: int, cache_bytes: int) -> Loader:
    """Return the loader that training would use, with a cache of so many bytes."""
    targets = torch.zeros(len(files), dtype=torch.int64)
    examples = Examples([{"bytes": f, "path": None} for f in files], targets.tolist(), "files")
    return Loader(examples, targets, preparation, True, batch, setup.device, cache_bytes=cache_bytes)


def encoded(count: int, kind: str, width: int, height: int) -> list[bytes]:
    """Return files of smooth noise, which decode as slowly as photographs do."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (max(4, height // 8), max(4, width // 8), 3), dtype=np.uint8))
        box = io.BytesIO()
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(box, kind)
        files.append(box.getvalue())
    return files


def naive(files: list[bytes], preparation: ImagePreparation, batch: int, device: torch.device) -> Callable[[], object]:
    """Return a pass over the files by torchvision's transforms."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(preparation.size, scale=preparation.crop_scale),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )

    def epoch() -> None:
        for start in range(0, len(files), batch):
            images = [Image.open(io.BytesIO(f)).convert("RGB") for f in files[start : start + batch]]
            torch.stack([transform(image) for image in images]).to(device)

    return epoch

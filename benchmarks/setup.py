"""What is measured: backbones, sizes for a CPU and for a GPU, and learners with many tasks made without training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from softtf.backbones import Backbone, BackboneSpec, load_backbone
from softtf.backbones.spec import RANDOM
from softtf.devices.device import Precision
from softtf.learners import Learner, LearnerSpec
from softtf.recipes.presets import VIT_B
from softtf.recipes.recipes import method_named

METHOD = method_named("dual-prompt+soft-tf")
CLASSES = 10  # of each task
Added = Callable[[Learner, int], None]
BACKBONES = {"vit-b": BackboneSpec(RANDOM + VIT_B, normalise="unit"), "bundled": BackboneSpec()}
TITLES = {"vit-b": "ViT-B/16", "bundled": "bundled ViT"}


@dataclass(frozen=True)
class Setup:
    """One configuration on one machine.

    Attributes:
        title: the backbone's name in tables.
        backbone: which one.
        device: where it runs.
        papers: whether it is the paper's backbone, for which some targets were set.
        gpu: whether the GPU's targets hold.
        batches: of the training steps measured.
        steps: in a row, timed together.
        test_images: predicted in one go.
        precisions: of prediction; training is in `auto`.
        tasks: T of the predictions; the largest is growth's, too.
        files: images decoded.
        seconds: spent on each comparison, if two rounds take no longer.
        rounds: at least so many.
    """

    title: str
    backbone: BackboneSpec
    device: torch.device
    papers: bool = False
    gpu: bool = False
    batches: tuple[int, ...] = (24,)
    steps: int = 1
    test_images: int = 24
    precisions: tuple[Precision, ...] = ("float32",)
    tasks: tuple[int, ...] = (10, 50)
    files: int = 96
    seconds: float = 20.0
    rounds: int = 2

    def load(self) -> Backbone:
        """Return the backbone on the device."""
        return load_backbone(self.backbone, self.device)


CPU = {
    "vit-b": Setup(TITLES["vit-b"], BACKBONES["vit-b"], torch.device("cpu"), papers=True),
    "bundled": Setup(
        TITLES["bundled"],
        BACKBONES["bundled"],
        torch.device("cpu"),
        steps=8,
        test_images=120,
        precisions=("float32", "auto"),
        seconds=10.0,
    ),
}


def setup_for(name: str, device: torch.device, quick: bool) -> Setup:
    """Return the configuration of a backbone on a device; `quick`: so small that only its working is shown."""
    setup = replace(CPU[name], device=device)
    if device.type == "cuda":
        setup = on_gpu(setup)
    return quickly(setup) if quick else setup


def on_gpu(setup: Setup) -> Setup:
    """Return the sizes for a GPU: the whole of its part in a few minutes, as GPUs are lent for minutes."""
    return replace(
        setup,
        gpu=True,
        batches=(24, 128),
        steps=10,
        test_images=240,
        files=2048,
        precisions=("float32", "bfloat16"),
        seconds=3.0,
    )


def quickly(setup: Setup) -> Setup:
    """Return the smallest sizes."""
    return replace(setup, batches=(2,), steps=1, test_images=3, files=4, tasks=(2, 4), seconds=0, rounds=1)


def learner_with(backbone: Backbone, tasks: int, added: Added | None = None, method: LearnerSpec = METHOD) -> Learner:
    """Return a learner that looks as if it had learned `tasks` tasks; `added` may change each before it is closed."""
    learner = method.build(backbone, 0).to(next(backbone.parameters()).device)
    for _ in range(tasks):
        add_task(learner, added)
    return learner


@torch.no_grad()
def add_task(learner: Learner, added: Added | None = None) -> None:
    """Open a task, move its parameters as training would, and close it."""
    learner.open_slots(CLASSES)
    for name, parameter in learner.trained_parameters().items():
        if ".task." in name:
            parameter.add_(torch.randn_like(parameter), alpha=0.03)
    if added:
        added(learner, learner.num_tasks - 1)
    learner.close_slots()

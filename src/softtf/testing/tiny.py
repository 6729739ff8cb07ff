"""What the checks run on: a tiny backbone, and tasks of small images."""

from collections.abc import Callable

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from softtf.backbones import Backbone
from softtf.backbones.timm_vit import TimmViT
from softtf.devices.torch_state import drawing_from
from softtf.streams import Examples

TASKS, CLASSES, SIZE = 3, 2, 16
Inputs = Callable[[int], Tensor]


def tiny_backbone() -> Backbone:
    """Return a frozen random ViT of four blocks, 32 wide, for images of 16 x 16 pixels, in float64."""
    with drawing_from(0):
        vit = VisionTransformer(img_size=SIZE, patch_size=8, depth=4, embed_dim=32, num_heads=2, num_classes=0).eval()
        for parameter in vit.parameters():
            torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.2)
    backbone = TimmViT(vit.requires_grad_(False), "tiny", (0.4, 0.5, 0.6), (0.3, 0.25, 0.2)).double()
    backbone.compute_dtype = torch.float64
    return backbone


def inputs(count: int) -> Tensor:
    """Return prepared images [count, 3, 16, 16] of noise in [0, 1]."""
    return torch.rand(count, 3, SIZE, SIZE, generator=generator(count), dtype=torch.float64)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return raw images, uint8 [16, 16, 3] each, of up to sixteen colours: they differ more than noise would."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return list(colours.repeat(4, 1).repeat(4, 2))


def task_data(task: int, per_class: int = 6) -> Examples:
    """Return a task with two classes of its own."""
    labels = [f"{task}-{c}" for c in range(CLASSES) for _ in range(per_class)]
    return Examples(pictures(len(labels), 1 + task), labels, f"task {task + 1}")


def generator(seed: int) -> torch.Generator:
    """Return a generator on the CPU."""
    return torch.Generator().manual_seed(seed)

"""How images become inputs: decoded and sized one by one on the CPU, cropped in batches on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from softtf.errors import UserError
from softtf.streams.crops import centre_boxes, random_boxes, sample
from softtf.streams.decode import decode

__all__ = ["ImagePreparation", "decode"]


@dataclass(frozen=True)
class ImagePreparation:
    """The preparation of images for a backbone that takes `size` x `size` inputs in [0, 1].

    Attributes:
        size: the side of the inputs, in pixels.
        resize: what a test image's short side is resized to before the centre crop; 0 means
            round(size * 256 / 224).
        crop_scale: the range of a training crop's share of the image's area.
        flip: whether half of the training images are mirrored.
        augment: False turns crops and flips off: training images are resized and cropped at the centre.
    """

    size: int
    resize: int = 0
    crop_scale: tuple[float, float] = (0.05, 1.0)
    flip: bool = True
    augment: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"image size must be at least 1, not {self.size}")
        if self.resize == 0:
            object.__setattr__(self, "resize", round(self.size * 256 / 224))
        if self.resize < self.size:
            raise UserError(f"resize must be at least the image size {self.size}, not {self.resize}")
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise UserError(f"crop_scale must be two shares with 0 < low <= high <= 1, not {self.crop_scale}")

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        low, high = self.crop_scale
        return f"images-1:{self.size}:{self.resize}:{low!r}:{high!r}:{self.flip}:{self.augment}"

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return uint8 [3, h, w]: decoded, and scaled down if its short side is longer than `resize`."""
        image = decode(raw, where)
        return image if min(image.shape[1:]) <= self.resize else _resize(image, self.resize)

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return uint8 [3, size, size]: short side at `resize` (bicubic, antialiased), then the centre."""
        image = _resize(decode(raw, where), self.resize)
        top, left = (round((side - self.size) / 2) for side in image.shape[1:])
        return image[:, top : top + self.size, left : left + self.size].contiguous()

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return the training inputs made from `load_train`'s images, which may differ in size.

        A random resized crop (as torchvision's, bilinear without antialias) and a flip, computed on `device`.
        All random numbers come from `generator` on the CPU, equally many for every image.

        Returns:
            float32 [b, 3, size, size] in [0, 1] on `device`.
        """
        heights = torch.tensor([image.shape[1] for image in loaded])
        widths = torch.tensor([image.shape[2] for image in loaded])
        boxes = (
            random_boxes(heights, widths, self.crop_scale, self.flip, generator)
            if self.augment
            else centre_boxes(heights, widths, self.resize, self.size)
        )
        return sample(_canvas(loaded, device), boxes, self.size)

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return `load_test`'s images as inputs: float32 [b, 3, size, size] in [0, 1] on `device`."""
        stacked = loaded if isinstance(loaded, Tensor) else torch.stack(list(loaded))
        return stacked.to(device).float().div_(255)


def _resize(image: Tensor, short: int) -> Tensor:
    """Return uint8 [3, h, w], its short side `short` and the aspect kept (rounded as torchvision does)."""
    height, width = image.shape[1:]
    if min(height, width) == short:
        return image
    side = min(height, width)
    target = (int(short * width / side), int(short * height / side))
    resized = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(target, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def _canvas(loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
    """Return uint8 [b, 3, H, W] on `device`: each image in the top left corner of a canvas that fits all."""
    if isinstance(loaded, Tensor):
        return loaded.to(device)
    if len({image.shape for image in loaded}) == 1:
        return torch.stack(list(loaded)).to(device)
    sides = [max(image.shape[axis] for image in loaded) for axis in (1, 2)]
    canvas = torch.zeros(len(loaded), 3, *sides, dtype=torch.uint8)
    for place, image in zip(canvas, loaded, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return canvas.to(device)

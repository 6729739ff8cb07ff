"""How images become inputs: the CPU decodes each image; the device crops batches of small ones.

A training crop comes from the original's pixels. An image that fits into the input, like CIFAR's, is kept and cropped
on the device, which only enlarges it. A larger image, a photo, is cropped on the CPU (`photos`). Without augmentation,
and as exemplars, images are reduced copies (`load_train`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from softtf.config.bounds import AtLeast, Count
from softtf.config.tree import Settings
from softtf.devices.device import moved
from softtf.errors import UserError
from softtf.files.tensor_form import TensorForm
from softtf.streams.crops import Boxes, centre_boxes, draw, narrowed, random_boxes, sample
from softtf.streams.decode import decode
from softtf.streams.photos import CropView, PhotoCrop, crop_photo, resize_crop
from softtf.streams.preparation import Ready

__all__ = ["ImagePreparation", "decode"]

LARGEST_CANVAS = 2**26
"""The most pixels of a batch on the device, where each image has the size of the largest: 0.8 GB."""


@dataclass(frozen=True)
class ImagePreparation(Settings):
    """The preparation of images for a backbone that takes `size` x `size` inputs in [0, 1].

    Attributes:
        size: the side of the inputs, in pixels.
        resize: the short side of a test image before the centre crop; 0 means round(size * 256 / 224).
        crop_scale: the range of a training crop's share of the image's area.
        flip: whether training images are mirrored with probability 1/2.
        augment: False turns crops and flips off: training images are resized and cropped at the centre.
    """

    size: Count
    resize: Annotated[int, AtLeast(0)] = 0
    crop_scale: tuple[float, float] = (0.05, 1.0)
    flip: bool = True
    augment: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
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
        version = 2 if self.augment else 1
        return f"images-{version}:{self.size}:{self.resize}:{low!r}:{high!r}:{self.flip}:{self.augment}"

    @property
    def loaded_form(self) -> TensorForm:
        """The form of an image that is kept, uint8 [3, h, w]."""
        return TensorForm((3, "height", "width"), (torch.uint8,))

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return uint8 [3, h, w]: the decoded image, scaled down if its short side is longer than `resize`.

        Exemplars have this form, even if training crops originals.
        """
        image = decode(raw, where)
        return image if min(image.shape[1:]) <= self.resize else _resize(image, self.resize)

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return uint8 [3, size, size]: short side at `resize` (bicubic, antialiased), then the centre."""
        return self.centre(decode(raw, where))

    def centre(self, image: Tensor) -> Tensor:
        """Return uint8 [3, size, size] of a decoded image: short side at `resize`, then the centre."""
        image = _resize(image, self.resize)
        top, left = (round((side - self.size) / 2) for side in image.shape[1:])
        return image[:, top : top + self.size, left : left + self.size].contiguous()

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return training inputs made from the images of `load_train`, which may differ in size.

        A random resized crop (like torchvision's, bilinear without antialiasing) and a flip are computed on `device`.
        All random numbers come from `generator` on the CPU, as many for every image.

        Returns:
            float32 [b, 3, size, size] in [0, 1] on `device`.
        """
        if self.augment:
            return self._sample(loaded, self._boxes(self.draw(len(loaded), generator), *_sides(loaded)), device)
        return self._sample(loaded, centre_boxes(*_sides(loaded), self.resize, self.size), device)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the random numbers for the crops and flips of `count` images, as many for every image."""
        return draw(count, generator)

    def load_drawn(self, raw: Any, where: str, drawn: Tensor, room: int) -> Tensor | Ready:
        """Return the original uint8 [3, h, w], to be cached, or the crop uint8 [3, size, size] given by `drawn`.

        An image that fits into the input is cached, and so is a photo of up to `room` bytes that is not LARGE.
        """
        view = CropView(lambda *sides: self._photo_crops(drawn[None], [sides])[0], self.size)
        image = decode(raw, where, view)
        if view.crop:
            return Ready(resize_crop(image, self.size, view.crop.flip, view.place))
        if self._fits(image):
            return image
        if image.nbytes <= room:
            return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # crops are read row by row
        (crop,) = self._photo_crops(drawn[None], [image.shape[1:]])
        return Ready(crop_photo(image, crop, self.size))

    def augment_drawn(
        self, loaded: Sequence[Tensor | Ready] | Tensor, drawn: Tensor, device: torch.device | str
    ) -> Tensor:
        """Return the crops given by `drawn`, as float32 [b, 3, size, size] in [0, 1] on `device`."""
        if isinstance(loaded, Tensor) and self._fits(loaded[0]):  # from the cache, maybe on the device
            small: Sequence[int] = range(len(loaded))
        else:
            small = [i for i, image in enumerate(loaded) if isinstance(image, Tensor) and self._fits(image)]
        if len(small) == len(loaded):
            images: Any = loaded
            return self._sample(images, self._boxes(drawn, *_sides(images)), device)
        whole = torch.zeros(len(loaded), 3, self.size, self.size, dtype=torch.uint8)
        photos = {i: image for i, image in enumerate(loaded) if isinstance(image, Tensor) and not self._fits(image)}
        crops = self._photo_crops(drawn[list(photos)], [image.shape[1:] for image in photos.values()])
        for (i, image), crop in zip(photos.items(), crops, strict=True):
            whole[i] = crop_photo(image, crop, self.size)
        for i, image in enumerate(loaded):
            if isinstance(image, Ready):
                whole[i] = image.values
        inputs = self.batch(whole, device)
        if small:
            images = [loaded[i] for i in small]
            inputs[small] = self._sample(images, self._boxes(drawn[small], *_sides(images)), device)
        return inputs

    def _fits(self, image: Tensor) -> bool:
        return max(image.shape[1:]) <= self.size

    def _boxes(self, drawn: Tensor, heights: Tensor, widths: Tensor) -> Boxes:
        return random_boxes(drawn, heights, widths, self.crop_scale, self.flip)

    def _photo_crops(self, drawn: Tensor, sides: Sequence[Sequence[int]]) -> list[PhotoCrop]:
        """Return the crop of each photo; `sides` are the rows and columns of each."""
        boxes = self._boxes(drawn, *torch.tensor(sides, dtype=torch.int64).view(-1, 2).T)
        top, left, height, width = (v.long().tolist() for v in (boxes.top, boxes.left, boxes.height, boxes.width))
        return list(map(PhotoCrop, top, left, height, width, boxes.flip.tolist()))

    def _sample(self, loaded: Sequence[Tensor] | Tensor, boxes: Boxes, device: torch.device | str) -> Tensor:
        """Return the boxes' content on `device`; of very long images only the part in the box goes there."""
        if not isinstance(loaded, Tensor) and max(max(image.shape[1:]) for image in loaded) > 4 * self.resize:
            loaded, boxes = narrowed(loaded, boxes)
        if len(loaded) > 1 and _canvas_pixels(loaded) > LARGEST_CANVAS:
            half = len(loaded) // 2  # if shapes differ much, fewer images have a smaller canvas
            parts = (loaded[:half], boxes.part(0, half)), (loaded[half:], boxes.part(half, len(loaded)))
            return torch.cat([self._sample(*part, device) for part in parts])
        return sample(_canvas(loaded, device), boxes, self.size)

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return the images of `load_test` as inputs: float32 [b, 3, size, size] in [0, 1] on `device`."""
        stacked = loaded if isinstance(loaded, Tensor) else torch.stack(list(loaded))
        return moved(stacked, device).float().div_(255)


def _sides(loaded: Sequence[Tensor] | Tensor) -> tuple[Tensor, Tensor]:
    """Return the heights and the widths, both int64 [b]."""
    if isinstance(loaded, Tensor):
        count, _, height, width = loaded.shape
        return torch.full((count,), height), torch.full((count,), width)
    heights, widths = zip(*(image.shape[1:] for image in loaded), strict=True)
    return torch.tensor(heights), torch.tensor(widths)


def _resize(image: Tensor, short: int) -> Tensor:
    """Return uint8 [3, h, w] with the short side `short` and the same aspect ratio, rounded like torchvision."""
    height, width = image.shape[1:]
    if min(height, width) == short:
        return image
    side = min(height, width)
    target = (int(short * width / side), int(short * height / side))
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in image.numpy()])  # without a copy
    resized = picture.resize(target, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def _canvas_pixels(loaded: Sequence[Tensor] | Tensor) -> int:
    """Return the pixels of the canvas of a batch."""
    heights, widths = _sides(loaded)
    return len(loaded) * int(heights.max()) * int(widths.max())


def _canvas(loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
    """Return uint8 [b, 3, H, W] on `device`: each image is in the top left corner of a canvas that fits them all."""
    if isinstance(loaded, Tensor):
        return moved(loaded, device)
    if len({image.shape for image in loaded}) == 1:
        return moved(torch.stack(list(loaded)), device)
    sides = [max(image.shape[axis] for image in loaded) for axis in (1, 2)]
    canvas = torch.zeros(len(loaded), 3, *sides, dtype=torch.uint8)
    for place, image in zip(canvas, loaded, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return moved(canvas, device)

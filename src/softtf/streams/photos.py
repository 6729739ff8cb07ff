"""Random crops of photos, from their original pixels: on the CPU, one by one, as published code does.

A crop is what torchvision's RandomResizedCrop makes of a PIL picture, bit for bit: cut out, then resized with
antialias. Of a large JPEG no more is decoded than the crop shows: its decoder gives a half, a quarter or an eighth of
all sides at less than full cost, and it is asked for the smallest of these that has MARGIN pixels for each of the
output's. Against the original's crop that changes values by 0.6 of 255 on average (pictures of 1/f noise).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

LARGE = 2**20
"""Pixels (3 MB) beyond which a photo's original is never kept, and not decoded as a whole either if that can be."""
MARGIN = 2
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: where width and height change places


class PhotoCrop(NamedTuple):
    """A box in pixels of a photo, and whether what it shows is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


class CropView:
    """What `decode` is to read of a picture: all of it, or of a large one its crop.

    Args:
        crop_of: gives the crop of a picture of so many rows and columns.
        size: the side of the output.

    crop: the crop if no more than that was read, else None; place: where it lies in what was read, as left, top, right,
    bottom.
    """

    def __init__(self, crop_of: Callable[[int, int], PhotoCrop], size: int) -> None:
        self._crop_of, self._size = crop_of, size
        self.crop: PhotoCrop | None = None
        self.place: tuple[float, float, float, float] | None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the part of an opened picture that is to be read."""
        if image.width * image.height <= LARGE:
            return image
        orientation = image.getexif().get(ORIENTATION, 1)
        sides = (image.width, image.height) if orientation in TURNED else (image.height, image.width)
        self.crop = self._crop_of(*sides)
        top, left, height, width, _ = self.crop
        if isinstance(image, JpegImageFile):
            smaller = _shrinking(min(height, width), self._size)
            image.draft(None, (image.width // smaller, image.height // smaller))
        step = round(max(sides) / max(image.size))
        if orientation != 1:
            image = ImageOps.exif_transpose(image)
        x, y = left // step, top // step
        right, bottom = (left + width) / step, (top + height) / step
        self.place = (left / step - x, top / step - y, right - x, bottom - y)
        return image.crop((x, y, math.ceil(right), math.ceil(bottom)))


def _shrinking(side: int, size: int) -> int:
    """Return the power of two by which a crop with this short side can be shrunk at decoding."""
    return next((n for n in (8, 4, 2) if side >= n * MARGIN * size), 1)


def crop_photo(image: Tensor, crop: PhotoCrop, size: int) -> Tensor:
    """Return a crop uint8 [3, size, size] of a photo uint8 [3, h, w]."""
    top, left, height, width, flip = crop
    return resize_crop(image[:, top : top + height, left : left + width], size, flip)


def resize_crop(part: Tensor, size: int, flip: bool, place: tuple[float, float, float, float] | None = None) -> Tensor:
    """Return a crop uint8 [3, size, size], bilinearly resized with antialias and then mirrored with `flip`.

    Args:
        part: uint8 [3, h, w].
        size: the side of the output.
        flip: whether to mirror it.
        place: where the crop lies in the part, as `CropView.place`; None if it is all of it.
    """
    picture = Image.fromarray(part.cpu().permute(1, 2, 0).contiguous().numpy())
    resized = picture.resize((size, size), Image.Resampling.BILINEAR, box=place)
    if flip:
        resized = ImageOps.mirror(resized)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

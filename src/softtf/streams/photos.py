"""Random crops of photos from their original pixels, one by one on the CPU, like published code.

A crop equals that of torchvision's RandomResizedCrop on a PIL image, bit for bit: cut out, then resized with
antialiasing. A large JPEG is decoded only as far as its crop needs. The decoder can shrink all sides to a half, a
quarter or an eighth at a lower cost; it shrinks as far as leaves MARGIN pixels for each output pixel. This changes
values by 0.6 of 255 on average (images of 1/f noise).
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
"""Photos with more pixels (3 MB) are never cached, and are decoded only in part if the format allows."""
MARGIN = 2
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: width and height are swapped


class PhotoCrop(NamedTuple):
    """A box in pixels of a photo, and whether its content is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


class CropView:
    """The part of an image that `decode` reads: all of it, or the crop of a large one.

    Args:
        crop_of: returns the crop of an image with the given rows and columns.
        size: the side of the output.

    Attributes:
        crop: the crop, if only it was read; None if the whole image was read.
        place: the crop's left, top, right and bottom in the part that was read.
    """

    def __init__(self, crop_of: Callable[[int, int], PhotoCrop], size: int) -> None:
        self._crop_of, self._size = crop_of, size
        self.crop: PhotoCrop | None = None
        self.place: tuple[float, float, float, float] | None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the part of an opened image to read."""
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
    """Return the power of two by which decoding can shrink a crop with this short side."""
    return next((n for n in (8, 4, 2) if side >= n * MARGIN * size), 1)


def crop_photo(image: Tensor, crop: PhotoCrop, size: int) -> Tensor:
    """Return a crop uint8 [3, size, size] of a photo uint8 [3, h, w]."""
    top, left, height, width, flip = crop
    return resize_crop(image[:, top : top + height, left : left + width], size, flip)


def resize_crop(part: Tensor, size: int, flip: bool, place: tuple[float, float, float, float] | None = None) -> Tensor:
    """Return a crop uint8 [3, size, size], resized bilinearly with antialiasing, then mirrored with `flip`.

    Args:
        part: uint8 [3, h, w], which holds the crop.
        size: the side of the output.
        flip: whether to mirror it.
        place: the crop's place in the part, as in `CropView.place`; None is the whole part.
    """
    picture = Image.fromarray(part.cpu().permute(1, 2, 0).contiguous().numpy())
    resized = picture.resize((size, size), Image.Resampling.BILINEAR, box=place)
    if flip:
        resized = ImageOps.mirror(resized)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

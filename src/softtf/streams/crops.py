"""Crops of a batch of small images: their boxes are drawn on the CPU, and all else is done on the device.

Small images are those that no crop shrinks, and reduced copies. For photos see `photos`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from softtf.devices.device import moved

TRIES = 10  # as in torchvision's RandomResizedCrop, which then takes the centre
RATIOS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Boxes:
    """One box for each image of a batch, all [b], in pixels of that image.

    Attributes:
        top: the first row, which may be fractional.
        left: the first column, which may be fractional.
        height: how many rows the output spans.
        width: how many columns the output spans.
        low_y: the first row that may be read.
        high_y: the last row that may be read.
        low_x: the first column that may be read.
        high_x: the last column that may be read.
        flip: whether the output is mirrored.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    low_y: Tensor
    high_y: Tensor
    low_x: Tensor
    high_x: Tensor
    flip: Tensor

    def part(self, start: int, end: int) -> "Boxes":
        """Return the boxes of the images `start` ... `end` - 1."""
        return Boxes(*(getattr(self, field.name)[start:end] for field in fields(self)))

    def on(self, device: torch.device) -> "Boxes":
        """Return the boxes on a device, by one copy; MPS has no float64, and they stay on the CPU."""
        values = [getattr(self, field.name) for field in fields(self)]
        there = moved(torch.stack([value.double() for value in values]), "cpu" if device.type == "mps" else device)
        return Boxes(*(row.to(value.dtype) for row, value in zip(there, values, strict=True)))


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Return the random numbers for `count` boxes, float64 [count, 2 * TRIES + 3] in [0, 1), from a CPU generator."""
    return torch.rand(count, 2 * TRIES + 3, generator=generator, dtype=torch.float64)


def random_boxes(drawn: Tensor, heights: Tensor, widths: Tensor, scale: tuple[float, float], flip: bool) -> Boxes:
    """Return boxes with the distribution of torchvision's RandomResizedCrop, flipped with probability 1/2.

    Args:
        drawn: the result of `draw`, a row for each image.
        heights: the heights of the images, int64 [b].
        widths: their widths, int64 [b].
        scale: the range of a crop's share of the area.
        flip: False turns flips off.
    """
    area = (heights * widths)[:, None] * (scale[0] + (scale[1] - scale[0]) * drawn[:, :TRIES])
    low, high = math.log(RATIOS[0]), math.log(RATIOS[1])
    ratio = torch.exp(low + (high - low) * drawn[:, TRIES : 2 * TRIES])
    width, height = torch.sqrt(area * ratio).round().long(), torch.sqrt(area / ratio).round().long()
    fits = (width > 0) & (width <= widths[:, None]) & (height > 0) & (height <= heights[:, None])
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.any(1)
    centre_height = torch.minimum(heights, (widths / RATIOS[0]).round().long()).clamp(min=1)
    centre_width = torch.minimum(widths, (heights * RATIOS[1]).round().long()).clamp(min=1)
    height = torch.where(found, height.gather(1, first)[:, 0], centre_height)
    width = torch.where(found, width.gather(1, first)[:, 0], centre_width)
    top = torch.where(found, _below(drawn[:, -3], heights - height + 1), (heights - height) // 2)
    left = torch.where(found, _below(drawn[:, -2], widths - width + 1), (widths - width) // 2)
    return Boxes(
        *(top.double(), left.double(), height.double(), width.double()),
        *(top, top + height - 1, left, left + width - 1),
        flip=(drawn[:, -1] < 0.5) & flip,
    )


def centre_boxes(heights: Tensor, widths: Tensor, resize: int, size: int) -> Boxes:
    """Return the boxes that resize the short side to `resize` and crop `size` x `size` at the centre."""
    short = torch.minimum(heights, widths)
    starts, spans = [], []
    for sides in (heights, widths):
        resized = resize * sides // short
        step = sides.double() / resized  # source pixels for each output pixel
        starts.append(((resized - size).double() / 2).round() * step)
        spans.append(size * step)
    zero = torch.zeros_like(heights)
    return Boxes(
        *(starts[0], starts[1], spans[0], spans[1]),
        *(zero, heights - 1, zero, widths - 1),
        flip=zero.bool(),
    )


def narrowed(images: Sequence[Tensor], boxes: Boxes) -> tuple[list[Tensor], Boxes]:
    """Return the part of each image [c, h, w] that its box reads, and the boxes in these parts."""
    top, low_y, high_y = _narrowed(boxes.top, boxes.height, boxes.low_y, boxes.high_y)
    left, low_x, high_x = _narrowed(boxes.left, boxes.width, boxes.low_x, boxes.high_x)
    rows = [slice(a, b + 1) for a, b in zip(low_y.tolist(), high_y.tolist(), strict=True)]
    columns = [slice(a, b + 1) for a, b in zip(low_x.tolist(), high_x.tolist(), strict=True)]
    parts = [image[:, y, x] for image, y, x in zip(images, rows, columns, strict=True)]
    zero = torch.zeros_like(low_y)
    bounds = {"low_y": zero, "high_y": high_y - low_y, "low_x": zero, "high_x": high_x - low_x}
    return parts, replace(boxes, top=top, left=left, **bounds)


def _narrowed(start: Tensor, span: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the start of each span, relative to the first pixel that it reads, and the first and last such pixel."""
    first = torch.minimum(torch.maximum((start - 1).floor().long(), low), high)
    last = torch.minimum(torch.maximum((start + span + 1).ceil().long(), low), high)
    return start - first, first, last


def sample(canvas: Tensor, boxes: Boxes, size: int) -> Tensor:
    """Return the boxes' content, resized to `size` x `size` bilinearly, without antialiasing.

    The result equals a crop followed by `interpolate`. It takes two products with matrices that hold two weights for
    each output. On a CPU this is faster than `grid_sample`; and pixels outside the box have weight 0 exactly.

    Args:
        canvas: uint8 [b, c, H, W].
        boxes: a box for each image.
        size: the side of the output.

    Returns:
        float32 [b, c, size, size] in [0, 1] on the canvas's device.
    """
    b, c, height, width = canvas.shape
    boxes = boxes.on(canvas.device)
    rows = _weights(boxes.top, boxes.height, boxes.low_y, boxes.high_y, size, height)
    columns = _weights(boxes.left, boxes.width, boxes.low_x, boxes.high_x, size, width)
    columns = torch.where(boxes.flip[:, None, None], columns.flip(1), columns)
    rows, columns = rows.to(canvas.device), columns.to(canvas.device)
    with torch.autocast(canvas.device.type, enabled=False):  # otherwise the products could run in bfloat16
        pixels = canvas.float().div_(255).reshape(b, c * height, width)
        narrow = torch.bmm(pixels, columns.transpose(1, 2)).view(b, c, height, size)
        return torch.matmul(rows[:, None], narrow).clamp_(0, 1)


def _weights(start: Tensor, span: Tensor, low: Tensor, high: Tensor, size: int, pixels: int) -> Tensor:
    """Return float32 [b, size, pixels]: the weight of each pixel of a line for each output."""
    outputs = torch.arange(size, dtype=torch.float64, device=start.device)
    places = (outputs + 0.5) * (span / size)[:, None] - 0.5 + start[:, None]
    places = torch.minimum(torch.maximum(places, low[:, None].double()), high[:, None].double())
    before = places.floor().long()
    after = torch.minimum(before + 1, high[:, None])
    share = (places - before).float()
    weights = torch.zeros(len(start), size, pixels, device=start.device)
    weights.scatter_(2, before[..., None], 1 - share[..., None])
    return weights.scatter_add_(2, after[..., None], share[..., None])


def _below(uniform: Tensor, limit: Tensor) -> Tensor:
    """Return integers in [0, limit) for random numbers in [0, 1)."""
    return torch.minimum((uniform * limit).long(), limit - 1)

"""Quantisation of finished tasks: one byte per entry of a real matrix, one bit per entry of a binary one.

Small tensors beside such matrices take two bytes per value.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_CODE = 127
LARGEST_HALF = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Quantised:
    """A quantised matrix [rows, columns]: value = centre + steps * codes.

    codes: int8 [rows, columns], within -127 ... 127; steps: float32 [rows, 1], not negative. That is 1 + 4 / columns
    bytes per value.
    """

    codes: Tensor
    steps: Tensor
    centre: float

    def to(self, device: torch.device) -> "Quantised":
        """Return the same matrix on a device."""
        return Quantised(self.codes.to(device), self.steps.to(device), self.centre)

    def __getitem__(self, rows: slice) -> "Quantised":
        """Return some rows."""
        return Quantised(self.codes[rows], self.steps[rows], self.centre)

    def dequantised(self) -> Tensor:
        """Return the values [rows, columns] in the type of the steps."""
        return (self.codes * self.steps).add_(self.centre)

    def times(self, weight: Tensor) -> Tensor:
        """Return weight * values [rows, columns] on the weight's device, in as few passes as possible."""
        here = self.to(weight.device)
        deviation = here.codes.to(weight.dtype).mul_(here.steps)
        if self.centre == 1:
            return torch.addcmul(weight, weight, deviation)
        return deviation.add_(self.centre).mul_(weight)


def quantise(values: Tensor, centre: float) -> Quantised:
    """Quantise finite values [rows, columns] to 255 evenly spaced levels per row.

    A dequantised value differs from the given one by at most max|value - centre| / 254, with the maximum over its row,
    apart from the rounding of float32. Of a tensor without values (`meta`) only the form is made.
    """
    if values.is_meta:  # torch works its arithmetic out in Python: 4 ms for each matrix of each task that is loaded
        steps = values.new_empty((len(values), 1), dtype=torch.float32)
        return Quantised(torch.empty_like(values, dtype=torch.int8), steps, centre)
    deviation = values.detach().float() - centre
    steps = deviation.abs().amax(1, keepdim=True) / LARGEST_CODE
    codes = (deviation / steps.where(steps > 0, 1.0)).round_().clamp_(-LARGEST_CODE, LARGEST_CODE)
    return Quantised(codes.to(torch.int8), steps, centre)


def halve(values: Tensor) -> Tensor:
    """Round finite values x to float16, each by at most max(2^-11 |x|, 2^-25).

    If one exceeds float16's largest number, 65504, all are returned as they are. A tensor without values (`meta`) is
    assumed to have none that large.
    """
    return values.half() if values.is_meta or values.abs().max() <= LARGEST_HALF else values


def to_bits(mask: Tensor) -> Tensor:
    """Return a boolean mask of any shape as bytes of eight entries each: uint8 [ceil(entries / 8)]."""
    flat = mask.flatten().to(torch.uint8)
    eights = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
    return (eights << _places(mask)).sum(1, dtype=torch.uint8)


def from_bits(eights: Tensor, shape: torch.Size, rows: slice = slice(None)) -> Tensor:
    """Return rows of the mask of shape `shape` that `to_bits` was given; reads only the bytes that hold them."""
    start, stop, _ = rows.indices(shape[0])
    entries = shape.numel() // shape[0]  # of a row
    first, last = start * entries, stop * entries
    bits = (eights[first // 8 : -(-last // 8), None] >> _places(eights) & 1).flatten()
    return bits[first % 8 :][: last - first].view(stop - start, *shape[1:]).bool()


def _places(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)

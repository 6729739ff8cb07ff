"""A matrix of real numbers in a byte each, or of ones and zeros in a bit each: what finished tasks are kept as.

What is small beside such a matrix takes two bytes a number.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_CODE = 127
LARGEST_HALF = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Packed:
    """A matrix [rows, columns] as its deviation from one number: value = centre + steps * codes.

    codes: int8 [rows, columns], within -127 ... 127; steps: float32 [rows, 1], from zero up. That is 1 + 4 / columns
    bytes a value.
    """

    codes: Tensor
    steps: Tensor
    centre: float

    def to(self, device: torch.device) -> "Packed":
        """Return the same matrix on a device."""
        return Packed(self.codes.to(device), self.steps.to(device), self.centre)

    def __getitem__(self, rows: slice) -> "Packed":
        """Return some rows."""
        return Packed(self.codes[rows], self.steps[rows], self.centre)

    def unpack(self) -> Tensor:
        """Return the values [rows, columns] in the type of the steps."""
        return (self.codes * self.steps).add_(self.centre)

    def times(self, weight: Tensor) -> Tensor:
        """Return weight * values [rows, columns], on the weight's device; in as few passes as there can be."""
        here = self.to(weight.device)
        deviation = here.codes.to(weight.dtype).mul_(here.steps)
        if self.centre == 1:
            return torch.addcmul(weight, weight, deviation)
        return deviation.add_(self.centre).mul_(weight)


def pack(values: Tensor, centre: float) -> Packed:
    """Round finite values [rows, columns] to 255 evenly spaced numbers a row, as wide apart as the row needs.

    A value that comes back differs from the one given by at most max|value - centre| / 254, the maximum being
    over its row; besides that only by the rounding of float32 itself.
    """
    deviation = values.detach().float() - centre
    steps = deviation.abs().amax(1, keepdim=True) / LARGEST_CODE
    codes = (deviation / steps.where(steps > 0, 1.0)).round_().clamp_(-LARGEST_CODE, LARGEST_CODE)
    return Packed(codes.to(torch.int8), steps, centre)


def halve(values: Tensor) -> Tensor:
    """Round finite values x to float16, each by at most max(2^-11 |x|, 2^-25).

    If one is beyond float16's largest number, 65504, all are returned as they are. A tensor without values (`meta`) is
    taken to have none such.
    """
    return values.half() if values.is_meta or values.abs().max() <= LARGEST_HALF else values


def pack_bits(mask: Tensor) -> Tensor:
    """Return a mask of any shape, true and false, as bytes of eight entries each: uint8 [ceil(entries / 8)]."""
    flat = mask.flatten().to(torch.uint8)
    eights = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
    return (eights << _places(mask)).sum(1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, shape: torch.Size, rows: slice = slice(None)) -> Tensor:
    """Return rows of the mask of shape `shape` that `pack_bits` was given; only the bytes that hold them are read."""
    start, stop, _ = rows.indices(shape[0])
    entries = shape.numel() // shape[0]  # of a row
    first, last = start * entries, stop * entries
    bits = (packed[first // 8 : -(-last // 8), None] >> _places(packed) & 1).flatten()
    return bits[first % 8 :][: last - first].view(stop - start, *shape[1:]).bool()


def _places(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)

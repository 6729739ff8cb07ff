"""Exemplars as tensors: examples of any sizes in one row of values, to be saved with what a learner remembers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def pack(name: str, examples: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return examples as `name.values` [all their numbers] and `name.shapes` [n, dimensions]; none give nothing.

    Args:
        name: of the entries.
        examples: on the CPU, of one type and number of dimensions; their sizes may differ.
    """
    if not examples:
        return {}
    values = torch.cat([example.reshape(-1) for example in examples])
    return {f"{name}.values": values, f"{name}.shapes": torch.tensor([example.shape for example in examples])}


def unpack(name: str, memory: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the examples that `pack` put under `name`, in their order."""
    if f"{name}.shapes" not in memory:
        return []
    shapes = memory[f"{name}.shapes"]
    parts = memory[f"{name}.values"].split(shapes.prod(1).tolist())
    return [part.view(shape) for part, shape in zip(parts, shapes.tolist(), strict=True)]

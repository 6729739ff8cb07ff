"""A batch whose samples belong to different tasks, sorted by task: each task has one run of rows.

A linear layer multiplies each run by its own task's weight; everything that tasks share runs on the whole batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.backbones.kernels import linear

Segment = tuple[slice, int]
"""Rows of a batch, and their task."""


def segments_of(tasks: Tensor) -> list[Segment]:
    """Return the runs of equal tasks; tasks: [batch]."""
    found, sizes = torch.unique_consecutive(tasks, return_counts=True)
    stops = sizes.cumsum(0).tolist()
    return [(slice(a, b), task) for a, b, task in zip([0, *stops], stops, found.tolist(), strict=False)]


@dataclass(frozen=True)
class SegmentedWeight:
    """The weights of several tasks; each is made when it is used, and dropped.

    Attributes:
        segments: they cover the batch in order.
        component: returns the given rows of the given task's weight.
    """

    segments: list[Segment]
    component: Callable[[int, slice], Tensor]

    def apply(self, x: Tensor, bias: Tensor | None, outputs: slice) -> Tensor:
        """Return the rows `outputs` of x W_t^T + b, [batch, tokens, out], for x [batch, tokens, in]."""
        parts = [linear(x[rows], self.component(task, outputs).to(x.dtype), bias) for rows, task in self.segments]
        return torch.cat(parts)

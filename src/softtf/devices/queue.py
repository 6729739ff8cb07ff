"""A second queue of a GPU's work (a CUDA stream), in which the next batch is made beside the step on this one."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def made_beside(items: Iterator[T], tensors: Callable[[T], Iterable[Tensor]], device: torch.device) -> Iterator[T]:
    """Yield the same items in the same order; on a GPU they are copied and made in the second queue.

    The first queue waits for an item before it works on it, and for nothing else.

    Args:
        items: an iterator that starts work on the device and does not wait for it.
        tensors: the tensors of an item that are on the device.
        device: where they are.
    """
    if device.type != "cuda":
        yield from items
        return
    first, second = torch.cuda.current_stream(device), _second(device)
    second.wait_stream(first)  # what the items are made from may still be on its way
    while True:
        with torch.cuda.stream(second):
            item = next(items, None)
        first.wait_stream(second)
        if item is None:
            return
        for tensor in tensors(item):
            tensor.record_stream(first)  # or its memory would be used again as soon as this process drops it
        yield item


@cache
def _second(device: torch.device) -> Any:
    return torch.cuda.Stream(device)

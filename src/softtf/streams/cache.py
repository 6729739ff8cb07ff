"""A cache of loaded inputs in memory, within a budget."""

from collections.abc import Sequence

import torch
from torch import Tensor

from softtf.devices.device import moved

LARGEST_MERGED = 2**19
"""Larger tensors (bytes) are not merged: photos are read in part, and a batch from one tensor would copy them whole."""


class Cache:
    """Up to `length` loaded tensors by index; small ones of one shape are merged into one tensor once all are there.

    If `length` tensors of the first one's size exceed `budget` bytes, nothing is kept. Otherwise tensors are kept until
    the budget is used up.
    """

    def __init__(self, length: int, budget: int, device: torch.device) -> None:
        self._length, self._budget, self._device = length, budget, device
        self._kept: dict[int, Tensor] = {}
        self._bytes = 0
        self._stack: Tensor | None = None
        self._off = False

    def __contains__(self, index: int) -> bool:
        return self._stack is not None or index in self._kept

    @property
    def is_merged(self) -> bool:
        """Whether all tensors are here, as one."""
        return self._stack is not None

    def get(self, indices: Sequence[int]) -> Tensor | list[Tensor]:
        """Return the tensors at `indices`; if they are merged, as one tensor, which may be on the device."""
        if self._stack is not None:
            return self._stack[moved(torch.tensor(indices, dtype=torch.int64), self._stack.device)]
        return [self._kept[i] for i in indices]

    def put(self, index: int, loaded: Tensor) -> None:
        """Keep `loaded` if the budget allows."""
        if not self._kept and loaded.nbytes * self._length > self._budget:
            self._off = True
        if self._off or index in self or self._bytes + loaded.nbytes > self._budget:
            return
        self._kept[index] = loaded
        self._bytes += loaded.nbytes
        whole = len(self._kept) == self._length and loaded.nbytes <= LARGEST_MERGED
        if whole and len({t.shape for t in self._kept.values()}) == 1:
            self._merge()

    def _merge(self) -> None:
        stack = torch.empty(self._length, *self._kept[0].shape, dtype=self._kept[0].dtype)
        for index in range(self._length):
            stack[index] = self._kept.pop(index)  # one at a time, so that memory does not double
        if self._device.type == "cuda" and self._bytes < torch.cuda.mem_get_info(self._device)[0] // 4:
            stack = stack.to(self._device)
        self._stack = stack

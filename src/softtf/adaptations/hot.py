"""Slots that stay on disk, and copies in memory of those of the tasks that answered last."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, Self

import torch
from torch import Tensor, nn

from softtf.adaptations.slots import MappedSlot


class HotSlots:
    """Copies of mapped slots on the device, of `limit` bytes together at most; the least recently used go first.

    Threads share it, as do the copies of a learner. A slot without a copy is read from its file, mapped, where it is
    needed.

    fetched: how many copies were made.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes, self.fetched = limit, 0, 0
        self._copies: OrderedDict[MappedSlot, nn.ParameterDict] = OrderedDict()
        self._lock = Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return this object."""
        return self

    def __iter__(self) -> Iterator[MappedSlot]:
        """Yield the slots that have a copy, the least recently used first."""
        return iter([*self._copies])

    def copy_of(self, slot: MappedSlot) -> nn.ParameterDict | None:
        """Return a slot's copy, if there is one."""
        return self._copies.get(slot)

    def use(self, slots: Sequence[MappedSlot], device: torch.device) -> None:
        """Make copies of the slots that answer now, as far as they fit beside each other."""
        with self._lock:
            for slot in slots:
                if slot in self._copies:
                    self._copies.move_to_end(slot)
            for slot in slots:
                if slot not in self._copies and self._make_room(size_of(slot), slots):
                    values = {name: value.detach().to(device, copy=True) for name, value in slot.items()}
                    parameters = {name: nn.Parameter(value, requires_grad=False) for name, value in values.items()}
                    self._copies[slot] = nn.ParameterDict(parameters)
                    self.bytes += size_of(slot)
                    self.fetched += 1

    def _make_room(self, size: int, wanted: Sequence[MappedSlot]) -> bool:
        """Drop the least recently used copies that are not wanted now; return whether `size` more bytes fit."""
        for slot in self:
            if self.bytes + size <= self.limit:
                break
            if not any(slot is one for one in wanted):
                del self._copies[slot]
                self.bytes -= size_of(slot)
        return self.bytes + size <= self.limit


def size_of(slot: nn.ParameterDict) -> int:
    """Return the bytes of a slot's values."""
    values: list[Tensor] = [*slot.values()]
    return sum(value.nbytes for value in values)

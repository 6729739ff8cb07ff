"""A reservoir: a buffer that holds each item of a stream with equal probability (Vitter, 1985, Algorithm R)."""

from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Reservoir(Generic[T]):
    """At most `size` of the items offered so far.

    An item is made only if it is kept: call `place = offer(...)`, and `put(place, item)` if there is a place.

    Attributes:
        size: the most items to keep.
        items: the items kept.
        seen: how many were offered.
    """

    def __init__(self, size: int, items: list[T] | None = None, seen: int = 0) -> None:
        self.size, self.items, self.seen = size, items or [], seen

    def offer(self, generator: torch.Generator) -> int | None:
        """Decide at random whether to keep the stream's next item; return its place, or None."""
        self.seen += 1
        if self.seen <= self.size:
            return self.seen - 1
        place = int(torch.randint(self.seen, (), generator=generator))
        return place if place < self.size else None

    def put(self, place: int, item: T) -> None:
        """Keep `item` at the place that `offer` returned."""
        if place == len(self.items):
            self.items.append(item)
        else:
            self.items[place] = item

    def draw(self, count: int, generator: torch.Generator) -> list[T]:
        """Return `count` different items in random order, or all if there are fewer."""
        order = torch.randperm(len(self.items), generator=generator)[:count]
        return [self.items[i] for i in order.tolist()]

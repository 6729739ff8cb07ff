"""A reservoir: a buffer in which every item of a stream of unknown length is with the same chance (Vitter 1985, R)."""

from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Reservoir(Generic[T]):
    """At most `size` items of those offered so far.

    An item is first offered, and only if it is kept need it be made: `place = offer(...)`, then `put(place, item)`.

    items: those kept; seen: how many were offered.
    """

    def __init__(self, size: int, items: list[T] | None = None, seen: int = 0) -> None:
        self.size, self.items, self.seen = size, items or [], seen

    def offer(self, generator: torch.Generator) -> int | None:
        """Draw whether the stream's next item is kept; return the place it goes to, or None."""
        self.seen += 1
        if self.seen <= self.size:
            return self.seen - 1
        place = int(torch.randint(self.seen, (), generator=generator))
        return place if place < self.size else None

    def put(self, place: int, item: T) -> None:
        """Keep `item` where `offer` said."""
        if place == len(self.items):
            self.items.append(item)
        else:
            self.items[place] = item

    def draw(self, count: int, generator: torch.Generator) -> list[T]:
        """Return `count` different items in random order, or all where there are fewer."""
        order = torch.randperm(len(self.items), generator=generator)[:count]
        return [self.items[i] for i in order.tolist()]

"""Batches made in a GPU's second queue are the same, in the same order, and none is read before it is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from softtf.devices import queue
from softtf.devices.queue import made_beside

GPU = torch.device("cuda:1")


class Queue:
    """Stands for a CUDA stream: it notes what was begun in it, and what of other queues it has waited for."""

    def __init__(self, *_: Any) -> None:
        self.begun: list[int] = []
        self.seen: set[int] = set()

    def wait_stream(self, other: "Queue") -> None:
        self.seen |= set(other.begun)


class Made:
    """Stands for a tensor of the GPU's, made in one queue."""

    def __init__(self, number: int, where: Queue) -> None:
        self.number, self.used_in = number, list[Queue]()
        where.begun.append(number)

    def record_stream(self, where: Queue) -> None:
        self.used_in.append(where)


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    """The first queue, and below it the one in which work begins now."""
    queues = [Queue()]
    queue._second.cache_clear()

    @contextmanager
    def inside(one: Queue) -> Iterator[None]:
        queues.append(one)
        try:
            yield
        finally:
            queues.pop()

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: queues[-1])
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "Stream", Queue)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("the device was waited for"))
    return queues


def test_beside_a_gpu_each_item_is_made_in_the_second_queue_and_waited_for_by_the_first(queues: list[Queue]) -> None:
    (first,) = queues
    first.begun.append(-1)  # work that the items may read
    batches = ((Made(n, queues[-1]), Made(10 + n, queues[-1])) for n in range(5))
    found = []
    for batch in made_beside(batches, list, GPU):
        assert queues == [first]  # the step's own work begins in the first queue
        for one in batch:
            assert one.number in first.seen and one.used_in == [first]
            found.append(one.number)
        assert max(first.seen) == batch[1].number  # the next is made later, in the second queue alone
    assert found == [0, 10, 1, 11, 2, 12, 3, 13, 4, 14]
    assert first.begun == [-1] and queue._second(GPU).seen == {-1}


def test_elsewhere_the_items_are_the_iterators_own() -> None:
    items = [torch.arange(n) for n in range(3)]
    for found, item in zip(
        made_beside(iter(items), lambda _: pytest.fail("read"), torch.device("cpu")), items, strict=True
    ):
        assert found is item


def test_an_error_in_making_an_item_arrives_and_leaves_the_second_queue(queues: list[Queue]) -> None:
    def broken() -> Iterator[tuple[Made, ...]]:
        yield (Made(0, queues[-1]),)
        raise ValueError("a file is gone")

    with pytest.raises(ValueError, match="a file is gone"):
        list(made_beside(broken(), list, GPU))
    assert len(queues) == 1

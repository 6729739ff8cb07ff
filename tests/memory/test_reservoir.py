"""A reservoir: every item of the stream has the same chance, and the same seeds keep the same items."""

import pytest
import torch

from softtf.memory import Reservoir
from support.tiny import generator


def filled(size: int, stream: int, seed: int) -> Reservoir[int]:
    reservoir: Reservoir[int] = Reservoir(size)
    draws = generator(seed)
    for item in range(stream):
        if (place := reservoir.offer(draws)) is not None:
            reservoir.put(place, item)
    return reservoir


def test_every_item_of_the_stream_is_kept_equally_often() -> None:
    size, stream, runs = 5, 40, 3000
    counts = torch.zeros(stream)
    for seed in range(runs):
        counts[filled(size, stream, seed).items] += 1
    expected = runs * size / stream
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert counts.sum() == runs * size
    assert chi_square < 80  # 39 degrees of freedom, less for drawing without replacement: one in ten thousand is 81


@pytest.mark.parametrize("stream", [0, 3, 5])
def test_a_short_stream_is_kept_whole_and_in_order(stream: int) -> None:
    reservoir = filled(5, stream, 0)
    assert reservoir.items == list(range(stream)) and reservoir.seen == stream


def test_the_same_seed_keeps_the_same_and_another_does_not() -> None:
    assert filled(5, 100, 1).items == filled(5, 100, 1).items != filled(5, 100, 2).items


def test_it_goes_on_from_what_it_held_as_if_never_stopped() -> None:
    draws, whole = generator(1), filled(5, 60, 1)
    first: Reservoir[int] = Reservoir(5)
    for item in range(60):
        if item == 23:
            first = Reservoir(5, list(first.items), first.seen)
        if (place := first.offer(draws)) is not None:
            first.put(place, item)
    assert first.items == whole.items and first.seen == 60


def test_a_draw_is_of_different_items_each_equally_often() -> None:
    reservoir, draws = filled(6, 6, 0), generator(0)
    counts = torch.zeros(6, 6)
    for _ in range(1200):
        drawn = reservoir.draw(3, draws)
        assert len(set(drawn)) == 3
        counts[[0, 1, 2], drawn] += 1
    assert (((counts[:3] - 200) ** 2) / 200).sum(1).max() < 30  # 5 degrees of freedom
    assert sorted(reservoir.draw(10, draws)) == list(range(6)) and Reservoir(3).draw(2, draws) == []

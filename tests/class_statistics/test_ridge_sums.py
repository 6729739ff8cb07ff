"""The sums against themselves: cut in parts, put in another order, saved and read."""

import torch

from contracts.tiny import noise
from softtf.statistics.ridge_sums import RidgeSums, from_triangle, to_triangle

SIZE, LABELS = 7, 3


def of(rows: slice) -> RidgeSums:
    h, labels, weights = noise(20, SIZE, seed=1), torch.arange(20) % LABELS, noise(20, seed=2).abs()
    return RidgeSums.zeros(SIZE, LABELS).add(h[rows].double(), labels[rows], weights[rows].double())


def test_they_are_the_weighted_sums_over_examples() -> None:
    h, labels, weights = noise(20, SIZE, seed=1).double(), torch.arange(20) % LABELS, noise(20, seed=2).abs().double()
    found = of(slice(None))
    gram, cross = torch.zeros(SIZE, SIZE).double(), torch.zeros(SIZE, LABELS).double()
    for i in range(20):
        gram += weights[i] * torch.outer(h[i], h[i])
        cross[:, labels[i]] += weights[i] * h[i]
    torch.testing.assert_close(found.gram, gram)
    torch.testing.assert_close(found.cross, cross)
    torch.testing.assert_close(found.weight, float(weights.sum()))
    assert found.examples == 20


def test_parts_add_up_and_can_be_taken_out() -> None:
    whole, first, rest = of(slice(None)), of(slice(0, 8)), of(slice(8, None))
    for found, expected in ((first + rest, whole), (rest + first, whole), (whole - rest, first)):
        torch.testing.assert_close(found.gram, expected.gram)
        torch.testing.assert_close(found.cross, expected.cross)
        torch.testing.assert_close(found.weight, expected.weight)
        assert found.examples == expected.examples


def test_what_is_kept_is_read_for_more_labels() -> None:
    sums = of(slice(None))
    read = RidgeSums.read({"other": torch.zeros(1), **sums.kept("x_")}, "x_", SIZE, LABELS + 2)
    assert torch.equal(read.gram, sums.gram.float().double())
    assert torch.equal(read.cross[:, :LABELS], sums.cross.float().double()) and not read.cross[:, LABELS:].any()
    assert (read.weight, read.examples) == (sums.weight, 20)
    none = RidgeSums.read({}, "x_", SIZE, LABELS)
    assert not none.gram.any() and not none.cross.any() and none.weight == 0


def test_a_triangle_is_the_matrix() -> None:
    for size in (1, 2, 7):
        half = noise(size, size).float().double()
        gram = half + half.T
        assert torch.equal(from_triangle(to_triangle(gram)), gram.float().double())

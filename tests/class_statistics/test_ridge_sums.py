"""The sums against themselves: cut in parts, put in another order, saved and read."""

import torch

from softtf.statistics.ridge_sums import RidgeSums, from_triangle, to_triangle
from softtf.statistics.shares import Share
from support.tiny import noise

SIZE, LABELS = 7, 3
H, OWN = noise(20, SIZE, seed=1).double(), torch.arange(20) % LABELS


def of(rows: slice) -> RidgeSums:
    found = RidgeSums.zeros(SIZE, LABELS)
    found.add(H[rows], OWN[rows])
    return found


def test_they_are_the_sums_over_examples() -> None:
    found = of(slice(None))
    gram, cross = torch.zeros(SIZE, SIZE).double(), torch.zeros(SIZE, LABELS).double()
    for h, label in zip(H, OWN, strict=True):
        gram += torch.outer(h, h)
        cross[:, label] += h
    torch.testing.assert_close(found.gram, gram)
    torch.testing.assert_close(found.cross, cross)
    assert found.counts.tolist() == torch.bincount(OWN).tolist()


def test_parts_add_up_and_can_be_taken_out() -> None:
    whole, first, rest = of(slice(None)), of(slice(0, 8)), of(slice(8, None))
    for found, expected in ((first + rest, whole), (rest + first, whole), (whole - rest, first)):
        torch.testing.assert_close(found.gram, expected.gram)
        torch.testing.assert_close(found.cross, expected.cross)
        assert torch.equal(found.counts, expected.counts)


def test_labels_weigh_the_same_as_if_all_had_the_pooled_scatter() -> None:
    """A slow loop over labels, and where counts are equal the plain mean of each label's own h h^T."""
    found = of(slice(None)).moments(balance=True)
    means = [H[c == OWN].mean(0) for c in range(LABELS)]
    scatter = sum(torch.outer(h - means[c], h - means[c]) for h, c in zip(H, OWN, strict=True)) / len(H)
    expected = sum(scatter + torch.outer(mean, mean) for mean in means)
    torch.testing.assert_close(found.gram, expected)
    torch.testing.assert_close(found.cross, torch.stack(means, 1))
    assert (found.weight, found.unit) == (LABELS, LABELS / len(H))
    even = of(slice(18)).moments(balance=True)
    torch.testing.assert_close(even.gram, H[:18].T @ H[:18] / 6)
    plain = of(slice(None)).moments(balance=False)
    assert torch.equal(plain.gram, of(slice(None)).gram) and (plain.weight, plain.unit) == (len(H), 1.0)


def test_what_is_kept_is_read_for_more_labels() -> None:
    sums = of(slice(None))
    share = Share({"other": torch.zeros(1), **sums.kept("x_")}, torch.arange(LABELS))
    read = RidgeSums.total([share], "x_", SIZE, LABELS + 2)
    assert torch.equal(read.gram, sums.gram.float().double())
    assert torch.equal(read.cross[:, :LABELS], sums.cross.float().double()) and not read.cross[:, LABELS:].any()
    assert read.counts.tolist() == [*sums.counts.tolist(), 0, 0]
    none = RidgeSums.total([], "x_", SIZE, LABELS)
    assert not none.gram.any() and not none.cross.any() and not none.counts.any()


def test_a_triangle_is_the_matrix() -> None:
    for size in (1, 2, 7):
        half = noise(size, size).float().double()
        gram = half + half.T
        assert torch.equal(from_triangle(to_triangle(gram)), gram.float().double())


def test_without_a_label_no_sum_of_features_that_are_never_negative_becomes_negative() -> None:
    """One label's units exclude each other, and the label that stays knows neither."""
    h = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 0, 2]]).double()
    sums = RidgeSums.zeros(3, 2)
    sums.add(h, torch.tensor([0, 0, 0, 0, 1, 1]))
    found = RidgeSums.without(sums.kept("x_"), "x_", 3, torch.tensor([1]))
    assert all((value >= 0).all() for value in found.values())
    assert found["x_sums"].tolist() == [[0], [0], [3]] and found["x_examples"].tolist() == [2]

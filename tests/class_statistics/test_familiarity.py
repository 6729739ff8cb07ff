"""Familiarity against Gaussians written out, and its known inputs against examples that are left out one by one."""

import pytest
import torch
from torch import Tensor

from softtf.statistics.centred_ridge import RIDGE, centred
from softtf.statistics.familiarity import Familiarity, _leverages, familiarity
from softtf.statistics.ridge_sums import RidgeSums
from softtf.statistics.shares import Share
from support.tiny import noise

SIZE, TASKS = 12, 3  # of two labels each
CENTRES = 3 * noise(2 * TASKS, SIZE, seed=1)


def units(label: int, count: int, seed: int = 2) -> Tensor:
    return (20 + 10 * (CENTRES[label] + noise(count, SIZE, seed=10 * seed + label))).relu().round()


def share(labels: list[int], numbers: list[int], count: int = 30) -> Share:
    sums = RidgeSums.zeros(SIZE, len(labels))
    for place, label in enumerate(labels):
        sums.add(units(label, count), torch.full((count,), place))
    return Share(sums.kept("", whole=True), torch.tensor(numbers))


def found(tasks: list[int], count: int = 30) -> Familiarity:
    """What follows from tasks, whose labels are numbered in this order."""
    shares = [share([2 * t, 2 * t + 1], [2 * i, 2 * i + 1], count) for i, t in enumerate(tasks)]
    return familiarity(shares, SIZE)


def test_it_is_the_log_ratio_of_two_gaussians() -> None:
    count = 30
    examples = [units(label, count) for label in range(2 * TASKS)]
    means = torch.stack([x.mean(0) for x in examples])
    mean, n = means.mean(0), count * len(examples)
    within = sum((x - m).T @ (x - m) for x, m in zip(examples, means, strict=True)) / n
    total = within + (means - mean).T @ (means - mean) / len(means)
    covariance = within + RIDGE * total.trace() / n * torch.eye(SIZE)
    x = units(0, 5, seed=7)

    def log_density(at: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(at, covariance).log_prob(x)

    expected = torch.stack([log_density(m) - log_density(mean) for m in means], 1)
    torch.testing.assert_close(found([0, 1, 2]).by_label(x), expected, rtol=1e-4, atol=1e-4)


def test_units_that_are_not_integers_have_no_scale() -> None:
    """The least lambda is 1 for integers, far above the ridge of units as small as these."""

    def by_label(scale: float) -> Tensor:
        sums = RidgeSums.zeros(SIZE, 4)
        for label in range(4):
            sums.add(scale * units(label, 30), torch.full((30,), label))
        return familiarity([Share(sums.kept(""), torch.arange(4))], SIZE).by_label(scale * units(0, 5, seed=7))

    torch.testing.assert_close(by_label(2.0**-12), by_label(1.0), rtol=1e-3, atol=1e-3)


def test_tasks_taken_out_leave_what_others_alone_give_to_the_bit_in_any_order() -> None:
    shares = [share([0, 1], [0, 1]), share([2, 3], [2, 3]), share([4, 5], [4, 5])]
    kept = [shares[0], shares[2]._replace(labels=torch.tensor([2, 3]))]
    for value, alone in zip(vars(familiarity(kept, SIZE)).values(), vars(found([0, 2])).values(), strict=True):
        assert torch.equal(value, alone)
    one, other, x = found([0, 1, 2]), found([2, 0, 1]), units(0, 9, seed=7)
    torch.testing.assert_close(one.by_label(x).amax(1), other.by_label(x).amax(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [4, 5, 8, 30, 200])
def test_known_inputs_are_rejected_as_often_as_stated(count: int) -> None:
    known = torch.cat([units(label, 400, seed=5) for label in range(2 * TASKS)])
    unknown = found([0, 1, 2], count).unknown(known)
    for rate in (0.02, 0.05, 0.2):
        assert 0.4 * rate <= float((unknown > 1 - rate).double().mean()) <= 1.8 * rate, (rate, count)


def test_a_class_of_fewer_examples_has_more_leverage() -> None:
    """Against the leverage of each example in the regression in which all classes weigh the same."""
    counts = [5, 5, 40, 40]
    shares = [share([0, 1], [0, 1], 5), share([2, 3], [2, 3], 40)]
    whole = centred(sums := RidgeSums.total(shares, "", SIZE, 4))
    examples = [units(label, n) for label, n in enumerate(counts)]
    means = torch.stack([x.mean(0) for x in examples], 1)
    away = [x - m for x, m in zip(examples, means.T, strict=True)]
    apart, n = means - means.mean(1, keepdim=True), sum(counts)
    scatter = sum(x.T @ x for x in away) + n / 4 * apart @ apart.T
    inverse = torch.linalg.inv(scatter + whole.ridge * torch.eye(SIZE, dtype=torch.float64))
    for t in range(2):
        own = RidgeSums.total([shares[t]._replace(labels=torch.arange(2))], "", SIZE, 2)
        explained = (apart.T @ whole.weights).diagonal()[2 * t : 2 * t + 2]
        found = _leverages(own.scatter(own.cross / own.counts), own.counts, explained, whole)
        h = [x - means.mean(1) for x in examples[2 * t : 2 * t + 2]]
        expected = [float((n / 4 / len(x)) * ((x @ inverse * x).sum(1).mean() + 1 / n)) for x in h]
        pooled = sum(expected) / 2  # the share's classes have one covariance
        assert found.mean() == pytest.approx(pooled, rel=0.2)
    assert sums.counts.tolist() == counts


def test_a_value_is_the_share_of_known_inputs_that_are_more_familiar() -> None:
    model = found([0, 1])
    assert model.known.diff().min() >= 0 and float(model.share[0]) == 0 < float(model.share[-1]) < 1
    strange = model.unknown(torch.cat([units(0, 50, seed=8), units(4, 50, seed=8), 1000 * noise(2, SIZE).abs()]))
    assert ((strange >= 0) & (strange <= 1)).all()
    assert strange[:50].mean() < 0.7 < strange[50:100].mean()

"""Fly-CL's projection and its generalised cross-validation against slow, obvious ones."""

import pytest
import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.learners import FlyCL
from softtf.learners.fly_cl import FACTORS, FlyRidge, generalised_cross_validation
from softtf.statistics.ridge_sums import RidgeSums, mean_square
from support.tiny import noise

LABELS = 4


def regression(size: int = 40) -> FlyRidge:
    return FlyRidge(16, FlyCL(size, degree=0.4, active=0.3), 3)


def features_of(n: int) -> tuple[Tensor, Tensor]:
    """Features [n, 16] around a centre for each label, and the labels [n]."""
    labels = torch.arange(n) % LABELS
    return 2 * noise(LABELS, 16, seed=7)[labels] + noise(n, 16, seed=8), labels


def some(n: int, size: int) -> tuple[Tensor, Tensor, RidgeSums]:
    """H [n, size] of the features, the labels [n] and the sums of both."""
    features, labels = features_of(n)
    h = regression(size)(features)
    sums = RidgeSums.zeros(size, LABELS)
    sums.add(h, labels)
    return h, labels, sums


def test_a_row_of_the_projection_reads_its_share_of_the_features() -> None:
    projection = regression().projection
    assert (projection != 0).sum(1).tolist() == [6] * 40  # 0.4 of 16
    assert len({tuple(row.nonzero()[:, 0].tolist()) for row in projection}) > 30
    assert abs(float(projection[projection != 0].std()) - 1) < 0.2
    published = FlyRidge(768, FlyCL(5), 0).projection
    assert (published != 0).sum(1).tolist() == [300] * 5


def test_the_largest_numbers_are_kept_and_no_others() -> None:
    fly, features = regression(), noise(7, 16, seed=1)
    for feature, h in zip(features, fly(features), strict=True):
        values = fly.projection.double() @ feature
        largest = sorted(values.tolist())[-12:]  # 0.3 of 40
        assert (h != 0).sum() == 12 and sorted(h[h != 0].tolist()) == pytest.approx(largest)


@pytest.mark.parametrize(("n", "size"), [(30, 40), (40, 40), (200, 40)])
def test_generalised_cross_validation_is_that_of_the_hat_matrix(n: int, size: int) -> None:
    h, labels, sums = some(n, size)
    y = torch.eye(LABELS, dtype=torch.float64)[labels]
    found = generalised_cross_validation(sums, h if n <= size else None, labels)
    assert list(found) == list(FACTORS)
    for factor, score in found.items():
        ridge = factor * float(h.square().mean())
        hat = h @ torch.linalg.inv(h.T @ h + ridge * torch.eye(size, dtype=torch.float64)) @ h.T
        expected = float((y - hat @ y).square().sum()) / n / (1 - float(hat.trace()) / n) ** 2
        assert score == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [30, 60])
def test_a_task_chooses_the_least_of_it(n: int) -> None:
    h, labels, sums = some(n, 40)
    found = generalised_cross_validation(sums, h if n <= 40 else None, labels)
    factor, error = regression().choose(RidgeSums.zeros(40, LABELS), sums, *features_of(n))
    assert error == min(found.values()) == found[factor]
    assert mean_square(sums.gram, n) == pytest.approx(float(h.square().mean()))


@pytest.mark.parametrize(
    "settings", [{"projection": 0}, {"projection": 10**6}, {"degree": 0.0}, {"active": 1.1}, {"active": float("nan")}]
)
def test_settings_that_cannot_be_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        FlyCL(**settings)

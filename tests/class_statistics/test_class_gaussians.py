"""Class Gaussians against numpy's mean and covariance, and the draws from them."""

import numpy as np
import pytest
import torch

from softtf.errors import TrainingError
from softtf.files.tensor_form import check_forms
from softtf.statistics.class_gaussians import FACTORS, MEANS, GaussianDraws, add_gaussians, gaussian_forms
from support.tiny import generator, noise

DIM = 5


def test_each_class_has_its_mean_and_covariance_with_a_small_ridge() -> None:
    features, classes = noise(40, DIM, seed=1) @ noise(DIM, DIM, seed=2), torch.arange(40) % 3
    known = add_gaussians({}, features[:30], classes[:30])
    known = add_gaussians(known, features[30:], classes[30:] % 2)
    check_forms(known, gaussian_forms(5, DIM), "here")
    draws = GaussianDraws(known, torch.device("cpu"))
    own = [features[:30][classes[:30] == c] for c in range(3)] + [
        features[30:][classes[30:] % 2 == c] for c in range(2)
    ]
    for c, rows in enumerate(own):
        factor = draws.factors[c].double()
        expected = np.cov(rows.numpy().T) + 1e-4 * np.eye(DIM)
        torch.testing.assert_close(factor @ factor.T, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(draws.means[c].double(), rows.mean(0), rtol=1e-5, atol=1e-6)


def test_draws_have_their_classes_means_and_covariances() -> None:
    features, classes = noise(60, DIM, seed=1) @ noise(DIM, DIM, seed=2) + 3, torch.arange(60) % 2
    draws = GaussianDraws(add_gaussians({}, features, classes), torch.device("cpu"))
    drawn, own = draws.draw(20_000, generator(0))
    assert torch.bincount(own).tolist() == [20_000, 20_000] and int((own[1:] != own[:-1]).sum()) > 15_000
    for c in range(2):
        rows = drawn[own == c]
        torch.testing.assert_close(rows.mean(0), draws.means[c], rtol=0, atol=0.1)
        torch.testing.assert_close(torch.cov(rows.T), draws.factors[c] @ draws.factors[c].T, rtol=0.05, atol=0.2)


def test_one_example_is_a_gaussian_of_the_ridge_alone() -> None:
    known = add_gaussians({}, noise(1, DIM), torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(GaussianDraws(known, torch.device("cpu")).factors[0], 0.01 * torch.eye(DIM))


def test_features_that_are_not_finite_are_refused() -> None:
    features = noise(4, DIM)
    features[2, 1] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        add_gaussians({}, features, torch.zeros(4, dtype=torch.int64))
    assert set(add_gaussians({}, noise(4, DIM), torch.zeros(4, dtype=torch.int64))) == {MEANS, FACTORS}

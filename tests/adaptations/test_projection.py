"""PGP's bases: their size on spectra that are known, what they take from a gradient, and that nothing is kept twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from softtf.adaptations.projection import Projection, SecondMoment, extended, extended_as_published, projected
from softtf.errors import UserError
from support.tiny import noise


def rows_of(singular: list[float], dim: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows [20, dim] with these singular values, and their right directions [dim, values]."""
    left = torch.linalg.qr(noise(20, len(singular), seed=seed)).Q
    right = torch.linalg.qr(noise(dim, len(singular), seed=seed + 1)).Q
    return left * torch.tensor(singular).double() @ right.T, right


def moment(rows: Tensor) -> Tensor:
    return SecondMoment().add(rows).mean


def share(basis: Tensor, rows: Tensor) -> float:
    """The share of the rows' squared norm that lies in the basis."""
    return float((rows @ basis.double()).square().sum() / rows.square().sum())


@pytest.mark.parametrize(
    ("eps", "size"), [(0.3, 1), (0.49, 1), (0.5, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.93, 3), (0.95, 4), (1.0, 4)]
)
def test_the_first_basis_holds_the_leading_directions_until_their_share_passes_eps(eps: float, size: int) -> None:
    rows, right = rows_of([2.0**0.5, 1.0, 0.75**0.5, 0.25**0.5])  # squares 2, 1, 0.75, 0.25 of 4 in all
    basis = extended(None, moment(rows), eps)
    assert basis.shape == (8, size)
    torch.testing.assert_close(projected(right.T[:size], basis), torch.zeros(size, 8).double(), rtol=0, atol=1e-6)
    assert share(basis, rows) >= eps - 1e-5


def test_a_svd_of_all_rows_gives_the_same_space() -> None:
    rows = noise(50, 8, seed=3) * torch.arange(1.0, 9.0).double()
    _, values, right = torch.linalg.svd(rows)
    shares = values.square().cumsum(0) / values.square().sum()
    size = int((shares < 0.8).sum()) + 1
    basis = extended(None, moment(rows), 0.8).double()
    torch.testing.assert_close(basis @ basis.T, right[:size].T @ right[:size], rtol=0, atol=1e-6)


def test_what_the_basis_holds_counts_towards_the_share() -> None:
    first, right = rows_of([3.0, 1.0])
    basis = extended(None, moment(first), 0.5)  # the first direction alone
    new = torch.linalg.qr(torch.cat([right, noise(8, 2, seed=9)], 1)).Q[:, 2:].T  # orthogonal to the first rows
    rows = torch.cat([6**0.5 * right.T[:1], 3**0.5 * new[:1], 1.0 * new[1:]])  # squares 6, 3, 1 of 10 in all
    assert extended(basis, moment(rows), 0.6) is basis
    for eps, size in ((0.7, 2), (0.89, 2), (0.91, 3)):
        more = extended(basis, moment(rows), eps)
        assert more.shape == (8, size)
        torch.testing.assert_close(more @ more.T @ basis, basis, rtol=0, atol=1e-6)  # nothing is lost
        assert share(more, rows) >= eps - 1e-5


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    st.floats(0.05, 1.0),
    st.sampled_from([1e-3, 1.0, 1e4]),
)
@settings(max_examples=40, deadline=None)
def test_bases_are_orthonormal_hold_their_share_and_take_the_gradient_out(
    seeds: list[int], eps: float, scale: float
) -> None:
    basis, sizes = None, []
    for seed in seeds:
        rows = scale * noise(4, 10, seed=seed % 1000)
        basis = extended(basis, moment(rows), eps)
        sizes.append(basis.shape[1])
        assert share(basis, rows) >= eps - 1e-5
        torch.testing.assert_close(basis.T @ basis, torch.eye(sizes[-1]), rtol=0, atol=1e-5)
        gradient = projected(noise(3, 5, 10, seed=1).float(), basis)
        assert (gradient @ basis).abs().max() <= 1e-5
        torch.testing.assert_close(projected(gradient, basis), gradient, rtol=0, atol=1e-5)
        assert extended(basis, moment(rows), eps) is basis  # the same inputs again add nothing
    assert sizes == sorted(sizes) and sizes[-1] <= 10


def test_what_is_orthogonal_already_passes_whole() -> None:
    rows, _ = rows_of([3.0, 2.0])
    basis = extended(None, moment(rows), 1.0)
    free = projected(noise(4, 8, seed=5), basis)
    assert free.norm() > 1
    torch.testing.assert_close(projected(free, basis), free, rtol=0, atol=1e-6)


def test_the_mean_of_batches_is_the_mean_of_all_rows() -> None:
    rows = noise(11, 6, seed=2)
    parts = SecondMoment().add(rows[:4].view(2, 2, 6)).add(rows[4:5]).add(rows[5:])
    torch.testing.assert_close(parts.mean, rows.T @ rows / 11)


@pytest.mark.parametrize(
    "settings", [{"eps": 0.0}, {"eps": 1.5}, {"eps": float("nan")}, {"samples": 0}, {"spectrum": "paper"}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(settings))}"):
        Projection(**settings)


@pytest.mark.parametrize(("eps", "size"), [(0.3, 0), (0.7, 0), (0.72, 1), (0.8, 1), (0.95, 2), (0.985, 2), (0.995, 3)])
def test_the_published_first_basis_is_of_the_shares_of_sigma_to_the_fourth_that_stay_below_eps(
    eps: float, size: int
) -> None:
    rows, right = rows_of([2.0**0.5, 1.0, 0.75**0.5, 0.25**0.5])  # fourth powers 4, 1, 0.5625, 0.0625 of 5.625
    assert [sum((4, 1, 0.5625, 0.0625)[:n]) / 5.625 >= eps - 1e-9 for n in (size, size + 1)] == [False, True]
    basis = Projection(eps, spectrum="published").extend(None, moment(rows))
    assert basis.shape == (8, size)
    torch.testing.assert_close(
        basis.double() @ basis.T.double(), right[:, :size] @ right[:, :size].T, atol=1e-6, rtol=0
    )
    assert torch.equal(projected(rows, basis), rows) == (size == 0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.floats(0.05, 1.0))
@settings(max_examples=40, deadline=None)
def test_published_bases_are_those_of_the_published_count(seeds: list[int], eps: float) -> None:
    """By loops over what numpy decomposes; PGP's own products are r^T r, here of features, and not their mean."""
    theirs, ours = None, None
    for seed in seeds:
        rows = noise(6, 10, seed=seed)
        product = (rows.T @ rows).numpy()
        ours = extended_as_published(ours, moment(rows), eps)
        if theirs is None:
            directions, values, _ = np.linalg.svd(product)
            total, count, share = (values**2).sum(), 0, 0.0
            for value in values:
                share += value**2 / total
                count += share < eps - 1e-6
            theirs = directions[:, :count]
        else:
            directions, values, _ = np.linalg.svd(product - theirs @ theirs.T @ product)
            total, count = (np.linalg.svd(product)[1] ** 2).sum(), 0
            share = (total - (values**2).sum()) / total
            while count < 10 - theirs.shape[1] and share < eps - 1e-6:
                share += values[count] ** 2 / total
                count += 1
            theirs = np.hstack([theirs, directions[:, :count]])
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.double() @ ours.double().T, theirs @ theirs.T, atol=1e-5)
        torch.testing.assert_close(ours.T @ ours, torch.eye(ours.shape[1]), rtol=0, atol=1e-5)

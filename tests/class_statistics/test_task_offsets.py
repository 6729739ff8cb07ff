"""Offsets of tasks: the additive model they fit, and what it leaves alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from softtf.statistics.task_offsets import RIDGE, TaskOffsets, fit_offsets
from support.tiny import noise


def slow_fit(means: Tensor) -> Tensor:
    """The b of least sum over i >= j of (m_ij - r_i - b_j - g [i = j])^2 + RIDGE sum b_j^2, equation by equation."""
    tasks = len(means)
    equations = []
    for i in range(tasks):
        for j in range(i + 1):
            unknowns = {f"r{i}": 1.0, f"b{j}": 1.0} | ({"g": 1.0} if i == j else {})
            equations.append((unknowns, float(means[i, j])))
    equations += [({f"b{j}": RIDGE**0.5}, 0.0) for j in range(tasks)]
    names = [*(f"r{i}" for i in range(tasks)), "g", *(f"b{j}" for j in range(tasks))]
    a = torch.tensor([[unknowns.get(name, 0.0) for name in names] for unknowns, _ in equations], dtype=torch.float64)
    y = torch.tensor([value for _, value in equations], dtype=torch.float64)
    offsets = (torch.linalg.pinv(a) @ y)[tasks + 1 :]
    return offsets - offsets.mean()


@given(st.integers(1, 6), st.integers(0, 99))
@settings(deadline=None)
def test_offsets_are_those_of_the_slow_fit(tasks: int, seed: int) -> None:
    means = noise(tasks, tasks, seed=seed).tril()
    torch.testing.assert_close(fit_offsets(means), slow_fit(means), rtol=0, atol=1e-8)


@given(st.integers(3, 12), st.integers(0, 99), st.floats(-3, 3))
@settings(deadline=None)
def test_neither_what_rows_have_in_common_nor_how_much_data_favour_their_own_task_is_an_offset(
    tasks: int, seed: int, own: float
) -> None:
    rows, means = noise(tasks, 1, seed=seed), noise(tasks, tasks, seed=seed + 1)
    changed = means + rows + own * torch.eye(tasks).double()
    torch.testing.assert_close(fit_offsets(changed.tril()), fit_offsets(means.tril()), rtol=0, atol=1e-8)
    torch.testing.assert_close(
        fit_offsets((rows + own * torch.eye(tasks).double()).tril()), torch.zeros(tasks).double(), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("tasks", [3, 5, 10])
def test_a_task_that_is_favoured_whatever_is_asked_has_the_largest_offset(tasks: int) -> None:
    """Drawn towards 0; the newest task's the most, which is known from its own data alone."""
    for favoured in range(tasks):
        means = torch.zeros(tasks, tasks).double()
        means[:, favoured] = 1
        found = fit_offsets(means.tril())
        assert found.argmax() == favoured
        assert 0.1 < found[favoured] - found[found != found[favoured]].mean() < 1


def test_of_two_tasks_no_offset_can_be_told() -> None:
    torch.testing.assert_close(fit_offsets(torch.tensor([[0.0, 0.0], [-3.0, 3.0]]).double()), torch.zeros(2).double())


def test_each_task_adds_a_row_of_means_and_changes_none() -> None:
    statistics, known = TaskOffsets(1, 9, 0), {}
    scores = [noise(4 + task, task + 1, seed=task) for task in range(4)]
    for task, found in enumerate(scores):
        before = {name: value.clone() for name, value in known.items()}
        new = statistics.gather(known, found)
        assert all(torch.equal(known[name], value) for name, value in before.items())
        known = new
        assert known["means"].shape == (task + 1, task + 1) and known["offsets"].shape == (task + 1,)
    for task, found in enumerate(scores):
        torch.testing.assert_close(known["means"][task, : task + 1], found.mean(0))
        assert not known["means"][task, task + 1 :].any()
    assert torch.equal(known["offsets"], fit_offsets(known["means"]))

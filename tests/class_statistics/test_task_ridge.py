"""The regression whose lambda tasks choose, against a plain ridge on all data at once."""

import math

import pytest
import torch
from torch import Tensor

from class_statistics.test_random_ridge import CLASSES, SPLITS, assert_equal, by_class, data, learned, shares_of
from softtf.files.tensor_form import check_forms
from softtf.statistics.random_ridge import UNCHOSEN
from softtf.statistics.ridge_sums import RidgeSums
from softtf.statistics.task_ridge import HEIGHTS, RIDGES, TaskRidge
from support.tiny import noise

SIZE = 20


class Chosen(TaskRidge):
    """Squares of a projection; each task chooses what the test says."""

    def __init__(self, choices: list[float]) -> None:
        super().__init__(SIZE)
        self.choices, self.asked = choices, []

    def forward(self, features: Tensor) -> Tensor:
        return (features @ noise(16, SIZE, seed=5)).square()

    def choose(self, old: RidgeSums, new: RidgeSums, features: Tensor, labels: Tensor) -> tuple[float, float]:
        self.asked.append((old.counts.tolist(), new.counts.tolist(), len(features), labels.tolist()))
        return self.choices[len(self.asked) - 1], 0.5


@pytest.mark.parametrize("groups", SPLITS[:2])
def test_however_the_data_are_split_it_is_the_plain_ridge_on_all_of_them(groups: list[list[int]]) -> None:
    regression = Chosen([0.1] * len(groups))
    found = learned(regression, by_class(groups))
    features, columns = data()
    h, y = regression(features), torch.eye(CLASSES, dtype=torch.float64)[columns]
    assert found.ridge == pytest.approx(0.1 * float(h.square().mean()), rel=1e-5)
    expected = torch.linalg.solve(h.T @ h + found.ridge * torch.eye(SIZE, dtype=torch.float64), h.T @ y)
    torch.testing.assert_close(found.weights.double(), expected, rtol=1e-3, atol=1e-6)


def test_the_order_of_tasks_does_not_matter() -> None:
    features, columns = data()
    renamed = torch.tensor([4, 5, 2, 3, 0, 1])[columns]  # the same classes, learned from the last to the first
    parts = [(features[rows], renamed[rows]) for t in range(3) for rows in [torch.nonzero(renamed // 2 == t)[:, 0]]]
    forth, shares = shares_of(Chosen([0.1, 3.0, 0.7]), by_class([[0, 1], [2, 3], [4, 5]]))
    back, reordered = shares_of(Chosen([0.7, 3.0, 0.1]), parts)
    one, other = (RidgeSums.total(some, "", SIZE, CLASSES).gram for some in (shares, reordered))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-2)
    torch.testing.assert_close(back.weights[:, [4, 5, 2, 3, 0, 1]], forth.weights, rtol=1e-4, atol=1e-6)


def test_lambda_is_the_mean_of_what_tasks_choose_by_their_examples() -> None:
    features, columns = data()
    rows = [columns < 2, (columns == 2) | (columns == 3)]
    parts = [(features[rows[0]], columns[rows[0]]), (features[rows[1]][:10], columns[rows[1]][:10])]
    regression = Chosen([100.0, 0.01])
    found, shares = shares_of(regression, parts)
    assert RIDGES.value(*(share.tensors for share in shares)) == pytest.approx(
        math.exp((30 * math.log(100) + 10 * math.log(0.01)) / 40)
    )
    assert found.error == 0.5
    assert regression.asked[1] == ([15, 15, 0, 0], [0, 0, 5, 5], 10, columns[rows[1]][:10].tolist())


def test_a_task_of_one_label_does_not_choose() -> None:
    regression = Chosen([])
    found, shares = shares_of(regression, by_class([[0], [1]]))
    assert not regression.asked and RIDGES.value(*(share.tensors for share in shares)) == UNCHOSEN and found.error == 0


def test_what_it_keeps_has_the_bytes_that_are_written_down() -> None:
    _, (share,) = shares_of(Chosen([1.0]), by_class([[0, 1, 2]]))
    parts = {"gram": 2 * SIZE * (SIZE + 1), "sums": 4 * SIZE * 3, "examples": 24, "counts": 24, "labels": 24}
    assert {n: v.numel() * v.element_size() for n, v in share.tensors.items()} == parts | {RIDGES.name: 8}
    check_forms(share.tensors, Chosen([]).forms(torch.arange(3)), "the sums")


def test_a_share_taken_out_leaves_the_regression_that_never_saw_its_task() -> None:
    parts = by_class([[0, 1], [2, 3], [4, 5]])
    found, shares = shares_of(Chosen([0.1, 3.0, 0.7]), parts)
    assert_equal(Chosen([]).solve(shares), found)
    never = learned(Chosen([0.1, 0.7]), [parts[0], (parts[2][0], parts[2][1] - 2)])
    assert_equal(Chosen([]).solve([shares[0], shares[2]._replace(labels=torch.tensor([2, 3]))]), never)


@pytest.mark.parametrize(("count", "factor"), [(60, 0.1), (60, 3.0), (240, 0.1)])
def test_the_temperature_tells_how_examples_score_that_are_left_out_one_by_one(count: int, factor: float) -> None:
    features, columns = data(count)
    found = learned(regression := Chosen([factor]), [(features, columns)])
    h, y = regression(features), torch.eye(CLASSES, dtype=torch.float64)[columns]

    def height(rows: Tensor, of: Tensor) -> float:
        gram = h[rows].T @ h[rows] + found.ridge * torch.eye(SIZE, dtype=torch.float64)
        scores = h[of] @ torch.linalg.solve(gram, h[rows].T @ y[rows])
        return float((scores * y[of]).sum(1).mean() - scores.mean())

    every = torch.arange(count)
    seen = height(every, every)
    left_out = sum(height(every[every != i], every[i : i + 1]) for i in range(count)) / count
    told = (found.temperature / HEIGHTS) ** 2 / seen
    assert left_out < 0.95 * seen and told == pytest.approx(left_out, abs=0.4 * (seen - left_out))


def test_a_lambda_too_small_for_the_rounding_of_the_kept_sums_is_raised() -> None:
    features, columns = data(12)  # fewer than SIZE, so that lambda alone makes G + lambda I positive definite
    parts = [(features[rows], columns[rows]) for rows in (columns < 3, columns >= 3)]
    found = learned(regression := Chosen([1e-12, 1e-12]), parts)
    h = regression(features)
    asked = 1e-12 * float(h.square().mean())
    assert found.ridge > 1.5 * asked and math.log10(found.ridge / asked) == pytest.approx(
        round(math.log10(found.ridge / asked)), abs=1e-3
    )
    assert ((h @ found.weights.double()).argmax(1) == columns).all()

"""The regression against a plain ridge on all data at once, in float64."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from softtf.errors import TrainingError
from softtf.statistics.random_ridge import FACTORS, RandomRidge, RidgeSolution
from softtf.statistics.ridge_sums import RidgeSums
from softtf.statistics.shares import Share
from softtf.statistics.task_ridge import TaskRidge
from support.tiny import noise

SIZE, CLASSES = 48, 6


def data(n: int = 90) -> tuple[Tensor, Tensor]:
    """Features [n, 16] around a centre for each of six classes, in an order that deals all classes out in turn."""
    columns = torch.arange(n) % CLASSES
    return 2 * noise(CLASSES, 16, seed=7)[columns] + 3 * noise(n, 16, seed=8), columns


def plain_ridge(
    features: Tensor, columns: Tensor, ridge: float, projection: Tensor, weights: Tensor | None = None
) -> Tensor:
    """W of least |H W - Y|^2 + ridge |W|^2, by least squares on H with sqrt(ridge) I below it; no G is ever formed.

    weights: of the examples, [n]; None for one each.
    """
    root = torch.ones(len(features), 1, dtype=torch.float64) if weights is None else weights.sqrt()[:, None]
    h = root * (features.double() @ projection.double()).clamp(min=0)
    y = root * torch.eye(CLASSES, dtype=torch.float64)[columns]
    stacked = torch.cat([h, math.sqrt(ridge) * torch.eye(h.shape[1], dtype=torch.float64)])
    return torch.linalg.lstsq(stacked, torch.cat([y, torch.zeros(h.shape[1], CLASSES)])).solution


def shares_of(
    regression: RandomRidge | TaskRidge, parts: list[tuple[Tensor, Tensor]]
) -> tuple[RidgeSolution, list[Share]]:
    """The solution after these tasks, each of features and their label numbers, and their shares."""
    shares: list[Share] = []
    numbers = torch.empty(0, dtype=torch.int64)
    for features, labels in parts:
        own, places = labels.unique(return_inverse=True)
        columns, numbers = places + len(numbers), torch.cat([numbers, own])
        share, found = regression.learn(shares, features, columns, numbers)
        shares.append(share)
    return found, shares


def learned(regression: RandomRidge | TaskRidge, parts: list[tuple[Tensor, Tensor]]) -> RidgeSolution:
    return shares_of(regression, parts)[0]


def assert_equal(found: RidgeSolution, expected: RidgeSolution) -> None:
    """Equal bit for bit, but for the error, which nothing keeps."""
    assert torch.equal(found.weights, expected.weights) and torch.equal(found.log_shares, expected.log_shares)
    assert (found.ridge, found.temperature) == (expected.ridge, expected.temperature)


def by_class(groups: list[list[int]]) -> list[tuple[Tensor, Tensor]]:
    features, columns = data()
    rows = [torch.cat([torch.nonzero(columns == c)[:, 0] for c in group]) for group in groups]
    return [(features[r], columns[r]) for r in rows]


SPLITS = [[[0, 1, 2, 3, 4, 5]], [[0, 1, 2], [3, 4, 5]], [[0, 1], [2], [3, 4, 5]], [[i] for i in range(6)]]


@pytest.mark.parametrize("groups", SPLITS)
def test_however_the_data_are_split_it_is_the_plain_ridge_on_all_of_them(groups: list[list[int]]) -> None:
    regression = RandomRidge(16, SIZE, 3, ridge=30.0)
    expected = plain_ridge(*data(), 30.0, regression.projection)
    found = learned(regression, by_class(groups))
    torch.testing.assert_close(found.weights.double(), expected, rtol=0, atol=1e-6)
    assert found.ridge == 30.0


def test_the_order_of_tasks_does_not_matter() -> None:
    regression = RandomRidge(16, SIZE, 3, ridge=30.0)
    forth, shares = shares_of(regression, by_class([[0, 1], [2, 3], [4, 5]]))
    features, columns = data()
    renamed = torch.tensor([4, 5, 2, 3, 0, 1])[columns]  # the same classes, learned from the last to the first
    parts = [(features[rows], renamed[rows]) for t in range(3) for rows in [torch.nonzero(renamed // 2 == t)[:, 0]]]
    back, reordered = shares_of(regression, parts)
    one, other = (RidgeSums.total(some, "", SIZE, CLASSES).gram for some in (shares, reordered))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(back.weights[:, [4, 5, 2, 3, 0, 1]], forth.weights, rtol=0, atol=1e-6)


def test_sums_kept_in_float32_over_fifty_tasks_answer_as_float64_does() -> None:
    regression = RandomRidge(16, SIZE, 3, ridge=30.0, balance=False)
    features, columns = data(3000)
    parts = list(zip(features.split(60), columns.split(60), strict=True))
    found, shares = shares_of(regression, parts)
    expected = plain_ridge(features, columns, 30.0, regression.projection)
    scores = regression(features) @ expected
    error = (regression(features) @ found.weights[:, -CLASSES:].double() - scores).norm() / scores.norm()
    assert error < 1e-5
    gram = RidgeSums.total(shares, "", SIZE, CLASSES).gram
    exact = regression(features).T @ regression(features)
    assert (gram - exact).norm() / exact.norm() < 1e-6


SEVERAL = [[[0, 1, 2, 3, 4, 5]], [[0, 1, 2], [3, 4, 5]], [[0, 1, 2, 3, 4], [5]]]


@pytest.mark.parametrize("groups", SEVERAL)
def test_lambda_is_the_grids_best_on_a_fifth_of_all_tasks(groups: list[list[int]]) -> None:
    regression = RandomRidge(16, SIZE, 3, balance=False)
    found = learned(regression, by_class(groups))
    features, columns = data()
    scale = float(regression(features).square().mean())
    held = [i for i in range(len(columns)) if int((columns[:i] == columns[i]).sum()) % 5 == 0]
    rest = [i for i in range(len(columns)) if i not in held]
    errors = {}
    for factor in FACTORS:
        weights = plain_ridge(features[rest], columns[rest], factor * scale, regression.projection)
        target = torch.eye(CLASSES, dtype=torch.float64)[columns[held]]
        errors[factor * scale] = float((regression(features[held]) @ weights - target).square().mean())
    best = min(errors, key=lambda ridge: errors[ridge])
    assert found.ridge == pytest.approx(best, rel=1e-4) and found.error == pytest.approx(errors[best], rel=1e-4)
    assert min(errors) < best < max(errors)  # or the grid is too short for this test to say much


def test_as_published_examples_weigh_the_same_and_balanced_labels_do() -> None:
    features, columns = data()
    kept = (columns < 4) | (torch.arange(len(columns)) < 12)  # 15 examples of four labels, 2 of the others
    features, columns = features[kept], columns[kept]
    regression = RandomRidge(16, SIZE, 3, ridge=30.0, balance=False)
    plain = plain_ridge(features, columns, 30.0, regression.projection)
    torch.testing.assert_close(learned(regression, [(features, columns)]).weights.double(), plain, rtol=0, atol=1e-6)
    balanced = learned(RandomRidge(16, SIZE, 3, ridge=30.0), [(features, columns)]).weights.double()
    scores = regression(features).double() @ balanced, regression(features).double() @ plain
    few = columns >= 4  # the small labels are no longer drowned
    right = [s[few].gather(1, columns[few][:, None]).mean() - s[few].mean() for s in scores]
    assert right[0] > 1.05 * right[1]


@pytest.mark.parametrize("cuts", [[90], [3, 90], [1, 2, 4, 8, 16, 32, 64, 90], [30, 60, 90]])
def test_a_labels_examples_may_come_in_any_number_of_tasks(cuts: list[int]) -> None:
    """Balanced too: the answer is that of all examples at once, whoever taught them and when."""
    features, columns = data()
    whole = learned(RandomRidge(16, SIZE, 3, ridge=30.0), [(features, columns)])
    shares: list[Share] = []
    labels = torch.empty(0, dtype=torch.int64)
    for start, end in zip([0, *cuts[:-1]], cuts, strict=True):
        own, places = columns[start:end].unique(return_inverse=True)
        labels = torch.cat([labels, own])
        numbers = torch.tensor([list(dict.fromkeys(labels.tolist())).index(label) for label in labels.tolist()])
        regression = RandomRidge(16, SIZE, 3, ridge=30.0)
        share, found = regression.learn(shares, features[start:end], places + len(labels) - len(own), numbers)
        shares.append(share)
    first = [labels.tolist().index(label) for label in range(CLASSES)]
    torch.testing.assert_close(found.weights[:, first], whole.weights, rtol=0, atol=1e-5)


def test_a_label_that_comes_again_is_one_label() -> None:
    """Two columns of one label have its score, and share out its probability by their examples."""
    features, columns = data()
    first, second = torch.arange(len(columns)) < 60, torch.arange(len(columns)) >= 60
    regression = RandomRidge(16, SIZE, 3, ridge=30.0, balance=False)
    whole = plain_ridge(features, columns, 30.0, regression.projection)
    one, _ = regression.learn([], features[first], columns[first], torch.arange(6))
    again = second & (columns < 2)
    numbers = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])
    two, _ = regression.learn([one], features[again], columns[again] + 6, numbers)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    last = second & (columns >= 2)
    _, found = regression.learn([one, two], features[last], columns[last] + 6, labels)
    torch.testing.assert_close(found.weights.double(), whole[:, labels], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.log_shares.exp(), torch.tensor([10 / 15] * 6 + [5 / 15] * 6))


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_rows_are_projected_a_few_at_a_time(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learned(RandomRidge(16, SIZE, 3), by_class([[0, 1, 2], [3, 4, 5]]))
    monkeypatch.setattr("softtf.statistics.random_ridge.ROWS", rows)
    seen: list[int] = []
    regression = RandomRidge(16, SIZE, 3)
    regression.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    found = learned(regression, by_class([[0, 1, 2], [3, 4, 5]]))
    assert max(seen) <= rows
    torch.testing.assert_close(found.weights, whole.weights, rtol=1e-4, atol=1e-6)
    assert found.temperature == pytest.approx(whole.temperature, rel=1e-4)


def test_the_scale_of_the_features_changes_no_answer() -> None:
    regression = RandomRidge(16, SIZE, 3)
    features, columns = data()
    small, large = (learned(regression, [(s * features, columns)]) for s in (1e-3, 1e3))
    torch.testing.assert_close(1e6 * large.weights, small.weights, rtol=1e-4, atol=1e-6)


def test_nothing_is_forgotten_of_the_memory_and_nothing_in_it_changed() -> None:
    regression = RandomRidge(16, SIZE, 3)
    first, second = by_class([[0, 1, 2], [3, 4, 5]])
    share, _ = regression.learn([], *first, torch.arange(3))
    before = {name: value.clone() for name, value in share.tensors.items()}
    another, _ = regression.learn([share], *second, torch.arange(6))
    assert all(torch.equal(share.tensors[name], before[name]) for name in before)
    for prefix in ("", "held_"):
        gram, sums = (another.tensors[prefix + name] for name in ("gram", "sums"))
        assert gram.shape == (SIZE * (SIZE + 1) // 2,) and sums.shape == (SIZE, 3)
        assert gram.dtype == sums.dtype == torch.float32


@pytest.mark.parametrize("regression", [RandomRidge(16, SIZE, 3), RandomRidge(16, SIZE, 3, 30.0, balance=False)])
def test_shares_are_solved_as_they_were_learned_and_one_taken_out_leaves_those_of_the_others(
    regression: RandomRidge,
) -> None:
    """To the bit, but for the temperature: a task fits it among the labels known then."""
    parts = by_class([[0, 1], [2, 3], [4, 5]])
    found, shares = shares_of(regression, parts)
    assert_equal(regression.solve(shares), found)
    without = [shares[0], shares[2]._replace(labels=torch.tensor([2, 3]))]
    never, _ = shares_of(regression, [parts[0], (parts[2][0], parts[2][1] - 2)])
    assert_equal(replace(regression.solve(without), temperature=never.temperature), never)


def test_the_projection_comes_from_the_seed_and_is_never_stored() -> None:
    ours, again, other = (RandomRidge(16, SIZE, seed).projection for seed in (3, 3, 4))
    assert torch.equal(ours, again) and not torch.equal(ours, other)
    assert not RandomRidge(16, SIZE, 3).state_dict() and not list(RandomRidge(16, SIZE, 3).parameters())


@pytest.mark.parametrize("per_class", [1, 2, 6])
def test_a_few_examples_are_enough_to_solve(per_class: int) -> None:
    features, columns = data(CLASSES * per_class)
    _, found = RandomRidge(16, SIZE, 3).learn([], features, columns, torch.arange(CLASSES))
    assert found.weights.isfinite().all() and math.isfinite(found.error)


def test_a_ridge_too_small_for_rounding_is_refused() -> None:
    features = torch.ones(20, 16)
    with pytest.raises(TrainingError, match="ridge 1e-30 is too small"):
        RandomRidge(16, SIZE, 3, ridge=1e-30).learn([], features, torch.arange(20) % 2, torch.arange(2))

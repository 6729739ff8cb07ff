import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from references import metrics
from softtf.errors import UserError
from softtf.evaluation import AccuracyMatrix, summary


@st.composite
def matrices(draw: st.DrawFn, recorded: bool | None = None, min_tasks: int = 1) -> AccuracyMatrix:
    total = draw(st.lists(st.integers(1, 30), min_size=min_tasks, max_size=5))

    def rows() -> list[list[int]]:
        return [[draw(st.integers(0, n)) for n in total[: t + 1]] for t in range(len(total))]

    named = draw(st.booleans()) if recorded is None else recorded
    return AccuracyMatrix(rows(), total, rows() if named else None)


def percents(matrix: AccuracyMatrix) -> list[list[float]]:
    """a[i][t] from the counts, one division at a time."""
    size = len(matrix.total)
    a = [[-1e9] * size for _ in range(size)]
    for t in range(size):
        for i in range(t + 1):
            a[i][t] = 100 * matrix.correct[t][i] / matrix.total[i]
    return a


@settings(deadline=None)
@given(matrices())
def test_a_is_the_share_of_right_answers(matrix: AccuracyMatrix) -> None:
    expected = percents(matrix)
    for i, row in enumerate(matrix.a):
        for t, value in enumerate(row):
            assert np.isnan(value) if t < i else value == pytest.approx(expected[i][t])


@settings(deadline=None)
@given(matrices())
def test_metrics_follow_their_formulas(matrix: AccuracyMatrix) -> None:
    a = percents(matrix)
    assert matrix.acc == pytest.approx(metrics.average_accuracy(a))
    assert matrix.average_incremental == pytest.approx(metrics.average_incremental_accuracy(a))
    if len(a) > 1:
        assert matrix.forget == pytest.approx(metrics.forgetting(a), abs=1e-9)
        assert matrix.bwt == pytest.approx(metrics.backward_transfer(a), abs=1e-9)
    learned = 0.0
    for i in range(len(a)):
        learned += a[i][i]
    assert matrix.learning_accuracy == pytest.approx(learned / len(a))


@settings(deadline=None)
@given(matrices())
def test_pooled_counts_samples_one_by_one(matrix: AccuracyMatrix) -> None:
    def share(counts: list[int]) -> float:
        samples = [k < right for right, n in zip(counts, matrix.total, strict=True) for k in range(n)]
        return 100 * sum(samples) / len(samples)

    assert matrix.pooled == pytest.approx(share(matrix.correct[-1]))
    if matrix.task_correct is None:
        assert matrix.task_identity is None
    else:
        assert matrix.task_identity == pytest.approx(share(matrix.task_correct[-1]))


@settings(deadline=None)
@given(matrices())
def test_metrics_keep_within_their_bounds(matrix: AccuracyMatrix) -> None:
    final = matrix.a[:, -1]
    for value in (matrix.acc, matrix.pooled):
        assert final.min() - 1e-9 <= value <= final.max() + 1e-9
    assert matrix.forget >= 0 and matrix.forget >= -matrix.bwt - 1e-9
    assert 0 <= matrix.average_incremental <= 100 + 1e-9
    last = len(matrix.total) - 1
    if last:
        final_gap = matrix.bwt * last / (last + 1)  # the last task has had no time to change
        assert matrix.acc == pytest.approx(matrix.learning_accuracy + final_gap, abs=1e-9)


def test_a_small_matrix_by_hand() -> None:
    matrix = AccuracyMatrix()
    matrix.add_row([9], [10], [10])
    matrix.add_row([10, 1], [10, 2], [10, 2])
    matrix.add_row([6, 2, 1], [10, 2, 4], [8, 2, 2])
    assert matrix.a.tolist()[0] == [90, 100, 60]
    assert summary(matrix) == pytest.approx(
        {
            "acc": (60 + 100 + 25) / 3,
            "forget": (40 + 0) / 2,
            "average_incremental": (90 + 75 + 185 / 3) / 3,
            "bwt": (-30 + 50) / 2,
            "learning_accuracy": (90 + 50 + 25) / 3,
            "pooled": 100 * 9 / 16,
            "task_identity": 75.0,
        }
    )
    assert matrix.to_csv() == (
        "task,after_1,after_2,after_3\n1,90.0000,100.0000,60.0000\n2,,50.0000,100.0000\n3,,,25.0000\n"
    )


def test_one_task_has_nothing_to_forget() -> None:
    matrix = AccuracyMatrix([[1]], [4], None)
    assert summary(matrix) == {
        "acc": 25.0,
        "forget": 0.0,
        "average_incremental": 25.0,
        "bwt": 0.0,
        "learning_accuracy": 25.0,
        "pooled": 25.0,
        "task_identity": None,
    }


@settings(deadline=None)
@given(matrices())
def test_json_comes_back_equal(matrix: AccuracyMatrix) -> None:
    assert AccuracyMatrix.from_dict(json.loads(json.dumps(matrix.to_dict()))) == matrix
    json.dumps(summary(matrix), allow_nan=False)


@settings(deadline=None)
@given(matrices())
def test_rows_added_one_by_one_make_the_same_matrix(matrix: AccuracyMatrix) -> None:
    grown = AccuracyMatrix()
    for t, row in enumerate(matrix.correct):
        named = matrix.task_correct[t] if matrix.task_correct else None
        grown.add_row(np.array(row), matrix.total[: t + 1], named)  # type: ignore[arg-type]
    assert grown == matrix
    json.dumps(grown.to_dict())  # numpy integers became Python's


@settings(deadline=None)
@given(matrices(recorded=True, min_tasks=2), st.data())
def test_a_refused_row_changes_nothing(matrix: AccuracyMatrix, data: st.DataObject) -> None:
    before = json.dumps(matrix.to_dict())
    good: list[Any] = [[0] * (len(matrix.total) + 1), [*matrix.total, 5], [0] * (len(matrix.total) + 1)]
    spoil: Callable[[list[Any]], object] = data.draw(
        st.sampled_from(
            [
                lambda g: g[0].pop(),
                lambda g: g[2].append(0),
                lambda g: g[0].__setitem__(0, g[1][0] + 1),
                lambda g: g[2].__setitem__(-1, 6),
                lambda g: g[0].__setitem__(0, -1),
                lambda g: g[0].__setitem__(0, 0.5),
                lambda g: g[1].__setitem__(0, g[1][0] + 1),
                lambda g: g[1].__setitem__(-1, 0),
                lambda g: g.__setitem__(2, None),
            ]
        )
    )
    spoil(good)
    with pytest.raises(UserError, match=f"accuracy matrix after task {len(matrix.total)}: "):
        matrix.add_row(*good)
    assert json.dumps(matrix.to_dict()) == before


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"correct": [[1]], "total": [1]},
        {"correct": [[1]], "total": [1], "task_correct": None, "x": 1},
        {"correct": [[1]], "total": [1, 1], "task_correct": None},
        {"correct": [[1]], "total": [1], "task_correct": []},
        {"correct": [[1, 1], [1]], "total": [1, 1], "task_correct": None},
        {"correct": [3], "total": [1], "task_correct": None},
        {"correct": None, "total": [], "task_correct": None},
    ],
)
def test_other_json_is_no_matrix(data: Any) -> None:
    with pytest.raises(UserError, match="accuracy matrix"):
        AccuracyMatrix.from_dict(data)


@pytest.mark.parametrize("metric", ["acc", "forget", "bwt", "average_incremental", "pooled", "task_identity"])
def test_an_empty_matrix_has_no_metrics(metric: str) -> None:
    assert AccuracyMatrix().a.shape == (0, 0)
    with pytest.raises(UserError, match="evaluate at least one task first"):
        getattr(AccuracyMatrix(), metric)

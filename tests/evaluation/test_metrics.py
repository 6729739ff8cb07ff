"""A user's metric stands in the summary, and in every table as a column of its own."""

from collections.abc import Iterator

import pytest

from softtf.errors import UserError
from softtf.evaluation import AccuracyMatrix, Row, metric, summary, to_csv, to_markdown
from softtf.evaluation.report import printed_of
from support.registries import forgetting_names

MATRIX = AccuracyMatrix([[8], [6, 5]], [10, 10])


@pytest.fixture
def own() -> Iterator[str]:
    """A metric of the last task."""
    with forgetting_names():
        metric("newest", "Newest %")(lambda matrix: float(matrix.a[-1, -1]))
        yield "newest"


def test_an_own_metric_is_measured_and_printed(own: str) -> None:
    values = summary(MATRIX)
    assert values[own] == 50 and values["acc"] == 55
    assert printed_of(values) == (("Newest %", 50.0),)
    row = Row("mine", "none", "–", 1, 2, 3, 4, 5, 6, 7, 8, others=printed_of(values))
    assert "| Newest % |" in to_markdown([row], "t") and "| 50.00 |" in to_markdown([row], "t")
    header, line = to_csv([row]).splitlines()
    assert header.endswith(",weights,Newest %") and line.endswith(",50.00")


def test_where_it_was_not_measured_the_column_is_empty(own: str) -> None:
    assert printed_of({}) == (("Newest %", None),)


def test_without_own_ones_nothing_more_is_printed() -> None:
    assert printed_of(summary(MATRIX)) == ()


def test_a_name_of_softtfs_own_is_refused() -> None:
    with pytest.raises(UserError, match="'acc'"):
        metric("acc", "Mine %")(lambda matrix: 1.0)

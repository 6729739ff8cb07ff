"""The check of metrics accepts softtf's, and finds one that is no number."""

import pytest

from softtf.evaluation import METRICS, metric
from softtf.testing import check_metric
from support.registries import forgetting_names


@pytest.mark.parametrize("name", METRICS)
def test_metrics_of_ours_are_lawful(name: str) -> None:
    check_metric(name)


def test_a_metric_that_is_no_number_is_found() -> None:
    with forgetting_names():
        metric("odd", "Odd")(lambda matrix: float("nan"))
        with pytest.raises(AssertionError, match="finite"):
            check_metric("odd")

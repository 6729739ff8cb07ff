"""Temperatures against the one that scores were divided by, and their mean over tasks."""

import pytest
import torch

from softtf.statistics.temperature import FittedMean, first_of_five, fit_temperature, log_shares
from support.tiny import noise


def test_the_temperature_is_the_one_that_scores_were_divided_by() -> None:
    logits = 4 * noise(4000, 5)
    columns = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    for temperature in (0.03, 0.3, 3.0):
        assert fit_temperature(logits * temperature, columns) == pytest.approx(temperature, rel=0.13)


def test_an_example_counts_by_its_weight() -> None:
    logits, columns = 4 * noise(50, 5), torch.arange(50) % 5
    weights = 1.0 + 3 * (logits.argmax(1) == columns)
    repeated = torch.arange(50).repeat_interleave(weights.long())
    assert fit_temperature(logits, columns, weights) == fit_temperature(logits[repeated], columns[repeated])
    assert fit_temperature(logits, columns, weights) != fit_temperature(logits, columns)


def test_the_first_of_each_five_examples_of_a_class_is_held_out() -> None:
    columns = torch.tensor([3, 1, 3, 3, 3, 3, 1, 3, 0, 1, 3])  # 0 has one example, which is not held out
    expected = [True, True, False, False, False, False, False, True, False, False, False]
    assert first_of_five(columns).tolist() == expected
    assert first_of_five(torch.zeros(100, dtype=torch.int64)).sum() == 20


def test_a_small_task_moves_the_mean_by_a_little() -> None:
    mean = FittedMean("t", default=0.5)

    def value(*fitted: tuple[float | None, float]) -> float:
        return mean.value(*(mean.kept(*one) for one in fitted))

    assert value((None, 7.0)) == 0.5
    tasks = ((0.1, 40.0), (0.1, 40.0), (1000.0, 1.0))
    assert value(*tasks) == pytest.approx(0.1 * 10000 ** (1 / 81), rel=1e-5)
    assert value(*tasks, (None, 50.0)) == value(*tasks)


def test_columns_share_out_their_labels_probability_by_examples() -> None:
    found = log_shares(torch.tensor([30, 5, 10, 60]), torch.tensor([0, 1, 0, 2])).exp()
    assert found.tolist() == pytest.approx([0.75, 1.0, 0.25, 1.0])

"""The laws are about every learner, not about the size of Feature ID's statistics, which Python gathers for most."""

import pytest

from softtf.statistics.class_scores import ClassScores


@pytest.fixture(autouse=True)
def _few_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassScores, "amount", 24)  # in place of 1,000: solving takes longer than the rest

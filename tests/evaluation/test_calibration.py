"""Reliability against loops over single samples."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softtf.evaluation.calibration import BINS, calibration_error, reliability
from softtf.evaluation.evaluate import Samples
from softtf.learners import BlockRidge
from support.tiny import classifier, held_out


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40))
def test_the_calibration_error_is_that_of_the_definition(rows: list[tuple[float, bool]]) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in rows:
        bins.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    distances = [abs(sum(c for c, _ in b) / len(b) - sum(r for _, r in b) / len(b)) * len(b) for b in bins.values()]
    sure, right = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = reliability(sure.float(), right)
    assert [b.count if b else 0 for b in found] == [len(bins.get(i, ())) for i in range(BINS)]
    assert calibration_error(found) == pytest.approx(100 * sum(distances) / len(rows), abs=1e-6)
    answer = torch.zeros(len(rows), dtype=torch.int64)
    samples = Samples((~right).long(), answer, answer, answer, sure.float())
    assert samples.ece == calibration_error(found)


def test_a_classifier_tells_the_error_of_its_own_probabilities() -> None:
    model, tests = classifier(BlockRidge(24)), held_out(range(3))
    found = model.evaluate(tests, progress=False)
    p = torch.cat([model.predict_proba(test) for test in tests]).max(1)
    right = [model.labels[i] == label for i, label in zip(p.indices, [x for t in tests for x in t.labels], strict=True)]
    expected = calibration_error(reliability(p.values, torch.tensor(right)))
    assert next(iter(found.values()))["ece"] == pytest.approx(expected, abs=1e-4)

"""Shortlists are compared with the answers among all tasks; a process that never ends is stopped."""

import pytest
from benchmarks.busy import busy, measured
from benchmarks.shortlist import FULL, SIZES, compared, full_of, shortened

from contracts.tiny import SOFT_TF, classifier, held_out
from softtf.learners import DualPrompt


def test_a_shortlist_is_put_into_a_policy_and_taken_out() -> None:
    assert shortened("feature-id:joint", 4) == "feature-id:top4:joint"
    assert all(full_of(shortened(code, size)) == code for code in FULL for size in SIZES)


@pytest.mark.slow
def test_a_shortlist_of_all_tasks_answers_as_without_one() -> None:
    spec = DualPrompt(e_layers=(3,), adapt=SOFT_TF.adapt, feature_id=24)
    found = compared(classifier(spec), held_out(range(3)))
    assert found.keys() == {*FULL, *(shortened(code, size) for code in FULL for size in SIZES)}
    for code in FULL:
        assert found[shortened(code, 4)] == found[code]
        assert found[shortened(code, 1)].same_task <= found[shortened(code, 2)].same_task <= 1


def test_a_process_that_takes_too_long_is_stopped() -> None:
    with busy(1):
        assert measured("passive", 1, 0.01) is None

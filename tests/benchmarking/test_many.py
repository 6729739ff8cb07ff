"""Shortlists, a process that never ends, and a long stream that is stopped and gone on with."""

import json
from pathlib import Path

import pytest
from benchmarks.busy import busy, measured
from benchmarks.shortlist import FULL, SIZES, compared, full_of, shortened
from benchmarks.stream import TEST, TRAIN, Notes, in_pairs

from softtf.learners import DualPrompt
from softtf.streams import Examples
from support.tiny import SOFT_TF, classifier, held_out


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


def test_what_is_measured_again_after_a_stop_is_dropped_first(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes.jsonl")
    for tasks in (1, 2, 3):
        for method in ("one", "two"):
            notes.add(method=method, tasks=tasks, what="learn")
    notes.add(method="one", tasks=2, what="disk")
    notes.file.write_text(notes.file.read_text() + '{"method": "o')
    notes.forget("one", 2)
    left = [json.loads(line) for line in notes.file.read_text().splitlines()]
    assert [(line["method"], line["tasks"]) for line in left] == [
        ("one", 1),
        ("two", 1),
        ("one", 2),
        ("two", 2),
        ("two", 3),
    ]


def test_tasks_are_pairs_of_classes_with_test_examples_of_their_own() -> None:
    rows = Examples(list(range(60)), [i % 5 for i in range(60)])
    pairs = list(in_pairs(rows, 0, "here"))
    assert len(pairs) == 2 and len({label for train, _ in pairs for label in train.classes}) == 4
    for train, test in pairs:
        assert len(train) == 2 * TRAIN and len(test) == 2 * TEST and set(train.classes) == set(test.classes)
        assert not {train[i] for i in range(len(train))} & {test[i] for i in range(len(test))}
    assert [t.classes for t, _ in in_pairs(rows, 1, "here")] != [t.classes for t, _ in pairs]

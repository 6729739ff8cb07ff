"""Confusions and classes against loops over single samples."""

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from softtf.evaluation.evaluate import Samples
from softtf.report.confusion import class_results, confused_classes, task_confusion
from softtf.report.inputs import spread

TASKS, LABELS = 3, 5
number = st.integers(0, LABELS - 1)
task = st.integers(0, TASKS - 1)
sample = st.tuples(number, task, number, task, st.floats(0, 1, width=32))
answers = st.lists(sample, min_size=1, max_size=40)


def samples_of(rows: list[tuple[int, int, int, int, float]]) -> Samples:
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)]
    return Samples(*columns[:4], columns[4].float())


@given(answers)
def test_tasks_are_counted_one_by_one(rows: list[tuple[int, int, int, int, float]]) -> None:
    found = task_confusion(samples_of(rows), TASKS)
    counts = Counter((of, taken) for _, of, _, taken, _ in rows)
    assert {(i, j): found[i, j] for i in range(TASKS) for j in range(TASKS) if found[i, j]} == counts


@given(answers)
def test_pairs_are_the_wrong_answers_most_frequent_first(rows: list[tuple[int, int, int, int, float]]) -> None:
    pairs = confused_classes(samples_of(rows), most=100)
    counts = Counter((label, answer) for label, _, answer, _, _ in rows if label != answer)
    assert {(pair.label, pair.answer): len(pair.samples) for pair in pairs} == counts
    sizes = [len(pair.samples) for pair in pairs]
    assert sizes == sorted(sizes, reverse=True) and len(confused_classes(samples_of(rows), most=2)) <= 2
    for pair in pairs:
        assert all((rows[i][0], rows[i][2]) == (pair.label, pair.answer) for i in pair.samples)
        confidence = [rows[i][4] for i in pair.samples]
        assert confidence == sorted(confidence, reverse=True)


@given(answers)
def test_each_class_is_counted(rows: list[tuple[int, int, int, int, float]]) -> None:
    for found in class_results(samples_of(rows)):
        mine = [row for row in rows if row[0] == found.label]
        wrong = Counter(row[2] for row in mine if row[2] != found.label)
        assert (found.total, found.correct) == (len(mine), len(mine) - wrong.total())
        assert (found.mistaken is None) == (not wrong)
        assert found.mistaken is None or wrong[found.mistaken] == max(wrong.values())


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 12))
def test_samples_are_taken_in_turns_from_each_group(groups: list[int], most: int) -> None:
    chosen = spread(range(len(groups)), groups, most)
    assert len(chosen) == min(most, len(groups)) == len({*chosen})
    taken = Counter(groups[i] for i in chosen)
    for group, count in Counter(groups).items():
        assert taken[group] == count or taken[group] >= max(taken.values()) - 1

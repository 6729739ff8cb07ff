"""What is mistaken for what: tasks and classes, and how often each class is answered correctly."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softtf.evaluation.evaluate import Samples


def task_confusion(samples: Samples, tasks: int) -> NDArray[np.int64]:
    """Return [tasks, tasks]: the number of samples of task i whose inferred task is j."""
    counts = np.zeros((tasks, tasks), np.int64)
    np.add.at(counts, (samples.of_task.numpy(), samples.task.numpy()), 1)
    return counts


@dataclass(frozen=True)
class ClassPair:
    """A class and the wrong answer given for it, as label numbers, with the samples."""

    label: int
    answer: int
    samples: tuple[int, ...]


def confused_classes(samples: Samples, most: int = 20) -> list[ClassPair]:
    """Return the most frequently confused pairs of classes, most frequent first; samples in order of confidence."""
    wrong = np.flatnonzero((samples.label != samples.answer).numpy())
    wrong = wrong[np.argsort(-samples.confidence.numpy()[wrong], kind="stable")]
    members: dict[tuple[int, int], list[int]] = {}
    for i in wrong.tolist():
        members.setdefault((int(samples.label[i]), int(samples.answer[i])), []).append(i)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return [ClassPair(label, answer, tuple(found)) for (label, answer), found in ordered[:most]]


@dataclass(frozen=True)
class ClassResult:
    """A label's test samples, right answers, and its most frequent wrong answer, if any."""

    label: int
    total: int
    correct: int
    mistaken: int | None


def class_results(samples: Samples) -> list[ClassResult]:
    """Return the result of each label that has test samples, in the order of the labels."""
    labels, answers = samples.label.tolist(), samples.answer.tolist()
    total, wrong = Counter(labels), dict[int, Counter[int]]()
    for label, answer in zip(labels, answers, strict=True):
        if answer != label:
            wrong.setdefault(label, Counter())[answer] += 1
    return [
        ClassResult(
            label,
            total[label],
            total[label] - sum(wrong.get(label, Counter[int]()).values()),
            wrong[label].most_common(1)[0][0] if label in wrong else None,
        )
        for label in sorted(total)
    ]

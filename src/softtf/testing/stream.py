"""Check a stream."""

import numpy as np

from softtf.streams import TaskStream
from softtf.testing.laws import law


def check_stream(stream: TaskStream) -> None:
    """Check a stream: tasks in order with classes and examples, tests of classes that were taught, the same twice."""
    law(len(stream) > 0, "a stream has a task")
    for index, task in enumerate(stream):
        law(task.index == index, "a task knows its place")
        law(set(task.classes) == set(task.train.labels), "each class of a task has a training example, and no other")
        law(task.test is None or set(task.test.labels) <= set(task.classes), "tests are of classes that were taught")
        for examples in (task.train, task.test):
            first, again = (np.asarray(examples[0]) if examples else np.empty(0) for _ in range(2))
            law(np.array_equal(first, again), "an example read twice is the same")

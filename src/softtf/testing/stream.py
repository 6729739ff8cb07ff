"""Check a stream."""

import numpy as np

from softtf.streams import TaskStream
from softtf.testing.laws import law


def check_stream(stream: TaskStream) -> None:
    """Check a stream: tasks in order with classes and examples, tests of learned classes, the same on each read."""
    law(len(stream) > 0, "a stream has a task")
    for index, task in enumerate(stream):
        law(task.index == index, "a task's index is its place in the stream")
        law(set(task.classes) == set(task.train.labels), "each class of a task has a training example, and no other")
        law(task.test is None or set(task.test.labels) <= set(task.classes), "test classes are classes of the task")
        for examples in (task.train, task.test):
            first, again = (np.asarray(examples[0]) if examples else np.empty(0) for _ in range(2))
            law(np.array_equal(first, again), "an example read twice is the same")

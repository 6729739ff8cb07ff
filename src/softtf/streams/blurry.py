"""Blurry streams: classes come back, as some of their training examples belong to other tasks than their own."""

import random

from softtf.config.arguments import checked
from softtf.config.bounds import Blur
from softtf.seeds import derive_seed
from softtf.streams.examples import Examples
from softtf.streams.stream import TaskStream
from softtf.streams.task import Task


@checked
def blurred(stream: TaskStream, share: Blur, seed: int = 0) -> TaskStream:
    """Return a stream in which this share of each class's training examples is dealt to other tasks at random.

    Every class keeps its own task, with most of its training examples and all of its test examples. So the tasks share
    labels. In the names of i-Blurry (Koh et al., ICLR 2022) no class is disjoint, and `100 * share` is M.

    Args:
        stream: whose classes belong to one task each; one task stays as it is.
        share: rounded to whole examples; a class keeps at least one.
        seed: chooses the examples and where they go.
    """
    if len(stream) == 1:
        return stream
    moved: list[dict[int, list[int]]] = [{} for _ in stream]  # to each task: of each, the indices of its examples
    for own, task in enumerate(stream):
        others = [number for number in range(len(stream)) if number != own]
        staying = set(range(len(task.train)))
        for position, members in enumerate(task.train.members()):
            draw = random.Random(derive_seed(seed, "blurry", own, position))
            for index in draw.sample(members, min(round(share * len(members)), len(members) - 1)):
                staying.remove(index)
                moved[draw.choice(others)].setdefault(own, []).append(index)
        moved[own][own] = list(staying)
    return TaskStream([_task(stream, task, moved[task.index]) for task in stream], stream.name)


def _task(stream: TaskStream, task: Task, moved: dict[int, list[int]]) -> Task:
    """Return a task of its own examples and then those of others; moved: the indices of each task's that it gets."""
    order = sorted(moved, key=lambda number: (number != task.index, number))
    train = Examples.concatenate([stream[number].train.select(sorted(moved[number])) for number in order])
    return Task(task.index, task.name, train.classes, train, task.test)

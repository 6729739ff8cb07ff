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
    kept: list[list[int]] = []
    away: list[list[tuple[int, int]]] = [[] for _ in stream]  # to each task: (its own task, index in it)
    for own, task in enumerate(stream):
        others = [number for number in range(len(stream)) if number != own]
        going: set[int] = set()
        for position, members in enumerate(task.train.members()):
            draw = random.Random(derive_seed(seed, "blurry", own, position))
            leaving = draw.sample(members, min(round(share * len(members)), len(members) - 1))
            going.update(leaving)
            for index in leaving:
                away[draw.choice(others)].append((own, index))
        kept.append([index for index in range(len(task.train)) if index not in going])
    return TaskStream([_task(stream, task, kept[task.index], away[task.index]) for task in stream], stream.name)


def _task(stream: TaskStream, task: Task, kept: list[int], came: list[tuple[int, int]]) -> Task:
    parts = [task.train.select(kept)]
    for own in sorted({own for own, _ in came}):
        parts.append(stream[own].train.select(sorted(index for task, index in came if task == own)))
    train = Examples.concatenate(parts)
    return Task(task.index, task.name, train.classes, train, task.test)

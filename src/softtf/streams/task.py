"""One task of a stream."""

from collections.abc import Hashable
from dataclasses import dataclass

from softtf.streams.examples import Examples


@dataclass(frozen=True)
class Task:
    """Task number `index` (from 0) of a stream.

    Attributes:
        index: its place in the stream.
        name: what reports call it.
        classes: its labels in order; equal to `train.classes`.
        train: the training examples.
        test: the test examples, if there are any.
    """

    index: int
    name: str
    classes: tuple[Hashable, ...]
    train: Examples
    test: Examples | None

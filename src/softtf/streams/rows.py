"""Single rows of a data set, loaded here or in a worker process."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from softtf.errors import UserError
from softtf.streams.examples import Examples
from softtf.streams.preparation import LoadedInput, Preparation, Ready

Row = int | tuple[int, Any]
"""The index of an example to load; with augmentation also its random numbers, as an array, which is cheap to send."""


class Rows(Dataset[Any]):
    """Loads one row; it returns an error as a value, so that its message leaves a worker process unchanged."""

    def __init__(self, examples: Examples, preparation: Preparation, train: bool, room: int) -> None:
        self._examples, self._train, self._room = examples, train, room
        self._preparation: Any = preparation

    def __getitem__(self, row: Row) -> Tensor | Ready | UserError:
        index, drawn = row if isinstance(row, tuple) else (row, None)
        load = self._preparation.load_train if self._train else self._preparation.load_test
        try:
            raw, where = self._examples[index], self._examples.where(index)
            if isinstance(raw, LoadedInput):
                return raw.values
            if drawn is None:
                return load(raw, where)  # type: ignore[no-any-return]
            return self._preparation.load_drawn(raw, where, torch.from_numpy(drawn), self._room)  # type: ignore[no-any-return]
        except UserError as error:
            return error


def sent(results: list[Tensor | Ready | UserError]) -> list[UserError | tuple[bool, NDArray[Any]]]:
    """Return tensors as arrays, each with whether it is Ready. A tensor from a worker would keep a file open.

    `Cache` keeps tens of thousands of them, and a process may have about a thousand open files.
    """
    return [
        r if isinstance(r, UserError) else (isinstance(r, Ready), (r.values if isinstance(r, Ready) else r).numpy())
        for r in results
    ]


def received(result: UserError | tuple[bool, NDArray[Any]]) -> Tensor | Ready:
    """Return what `sent` turned into an array; raise an error."""
    if isinstance(result, UserError):
        raise result
    ready, values = result[0], torch.from_numpy(result[1])
    return Ready(values) if ready else values


def checked(result: Tensor | Ready | UserError) -> Tensor | Ready:
    """Return a result of `Rows`; raise an error."""
    if isinstance(result, UserError):
        raise result
    return result

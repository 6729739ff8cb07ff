"""The labels of examples: which values can be one, and which are missing."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from softtf.errors import UserError
from softtf.files.label_json import encode_label


def hashable_label(label: Any, index: int, name: str, what: str = "label") -> Hashable:
    """Return a label as Python has it: scalars of numpy and torch become Python's.

    Args:
        label: of example `index` of the data that errors call `name`.
        index: its place.
        name: of the data.
        what: what errors call the label.

    Raises:
        UserError: it is missing, or not hashable.
    """
    label = _scalar(label)
    try:
        hash(label)
    except TypeError:
        hashable = False
    else:
        hashable = not isinstance(label, torch.Tensor)
    if not hashable:
        raise UserError(f"{name}: the {what} of example {index} is not one hashable value such as an int or str")
    if _is_missing(label):
        raise UserError(f"{name}: the {what} of example {index} is missing ({label}); give one or leave it out")
    return label  # type: ignore[no-any-return]


def _scalar(value: Any) -> Any:
    """Return a scalar of numpy or torch as Python's, a masked entry as None, and everything else as it is.

    numpy's times stay as they are, and are refused later: of nanoseconds `item` would make integers.
    """
    if value is np.ma.masked:
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    plain = isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64)
    return value.item() if plain or (isinstance(value, torch.Tensor) and value.ndim == 0) else value


def _is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, or NaN, NaT and the like, which do not equal themselves.

    A tuple that holds a missing value is missing too.
    """
    if isinstance(value, tuple):
        return any(map(_is_missing, value))
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas' NA neither equals nor differs
        return True


def check_saved(label: Hashable, labels: Sequence[Hashable], name: str) -> None:
    """Refuse a label that could not be saved, before it is learned; raises UserError."""
    try:
        encode_label(label)
    except UserError as error:
        raise UserError(f"{name}: example {labels.index(label)}: {error}") from None

"""What may be given as data: the one place that says what one input is, what several are, and where labels stand.

One input is a string (a text, or the path of an image), a `Path`, an image file's bytes, a `{"bytes", "path"}` dict as
undecoded image columns hold, a PIL image, or an array or tensor of one picture. Several are a list, a tuple, a Series,
a column of a data set or another sequence of these, an array of strings or objects, or an array or tensor whose first
axis counts pictures.

An array or tensor of two axes is one picture [h, w], of four several. Three axes have this rule:

- [h, w, c] whose last axis has 1, 3 or 4 is one picture;
- of a tensor also [c, h, w] whose first axis has, as torch has pictures;
- any other are grey pictures [n, h, w]. A numpy array whose first axis has 3 or 4 could be either, and is refused.

Where labels stand beside the inputs, they decide: as many labels as the first axis is long are those of several.
"""

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from softtf.errors import UserError
from softtf.streams.columns import (
    Column,
    check_filled,
    find_columns,
    input_name,
    is_hub_dataset,
    named,
    read_labels,
    usual_input,
    usual_label,
)
from softtf.streams.decode import CHANNELS
from softtf.streams.examples import Examples

NEAREST = "give a list, an array, a column, or a map-style data set (of a DataLoader its .dataset)"


def examples_from(data: Any, name: str = "data") -> Examples:
    """Return labelled `data` as Examples.

    Args:
        data: Examples (returned as they are), a tuple `(inputs, labels)`, a `datasets.Dataset` or a DataFrame (columns
            found by type and name; a ClassLabel's integers become its names), or a list or torch Dataset of
            `(input, label)` pairs (read through once for its labels).
        name: what errors call the data.

    Raises:
        UserError: another kind of data, or one that `Examples` refuses.
    """
    if isinstance(data, Examples):
        return data
    if _is_table(data):
        if not is_hub_dataset(data):
            known = list(data.columns)
            return Examples(_filled(data, usual_input(known, name), name), list(data[usual_label(known, name)]), name)
        inputs, column = find_columns(data, name)
        check_filled(data, inputs, name)
        values, order = read_labels(data, column, name)
        return Examples(Column(data, inputs), values, name, order)
    if isinstance(data, tuple) and len(data) == 2:
        labels = _labels(data[1], name)
        return Examples(rows_of(data[0], name, len(labels)), labels, name)
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__") or isinstance(data, str | Mapping):
        raise UserError(
            f"{name}: cannot read examples from {type(data).__name__}; give (inputs, labels), a list of (input, label)"
            " pairs, a DataFrame, or a map-style data set"
        )
    return Examples(_Firsts(data), [_pair(data, i, name)[1] for i in range(len(data))], name)


def unlabelled(data: Any) -> Examples:
    """Return inputs whose labels are not wanted as Examples: whatever `examples_from` takes, or inputs alone.

    Raises:
        UserError: there are none, or they are none of the forms above.
    """
    if isinstance(data, Examples):
        return data
    name = "inputs"
    if _is_table(data):
        if is_hub_dataset(data):
            rows: Sequence[Any] = Column(data, input_name(data, name))
        else:
            known = list(data.columns)
            rows = _filled(data, known[0] if len(known) == 1 else usual_input(known, name), name)
    elif _with_labels(data):
        rows = rows_of(data[0], name, len(data[1]))
    else:
        rows = rows_of(data, name)
        if len(rows) and isinstance(rows[0], tuple) and len(rows[0]) == 2:
            rows = _Firsts(rows)
    if not len(rows):
        raise UserError("there are no inputs to predict")
    return Examples(rows, [0] * len(rows), name)  # the label is never read


def rows_of(inputs: Any, name: str, labels: int | None = None) -> Sequence[Any]:
    """Return inputs as a sequence of one-input rows; one input is a list of one.

    Args:
        inputs: of the forms above.
        name: what errors call them.
        labels: how many labels stand beside them, if any do.

    Raises:
        UserError: they have no order or cannot be read again, or could mean two things.
    """
    if _is_one(inputs, labels):
        return [inputs]
    if hasattr(inputs, "read"):
        raise UserError(f"{name}: a {type(inputs).__name__} is an open file; give its path, or its bytes by .read()")
    if isinstance(inputs, Iterator):
        raise UserError(f"{name}: a {type(inputs).__name__} can be read only once; give list(...) of it")
    if not hasattr(inputs, "__len__") or not hasattr(inputs, "__getitem__"):
        raise UserError(f"{name}: a {type(inputs).__name__} is no input, nor several in an order; {NEAREST}")
    if _is_column(inputs):
        whole = is_hub_dataset(inputs.source) and type(inputs.source).__name__ == "Dataset"
        return Column(inputs.source, inputs.column_name) if whole and _plain(inputs.source) else inputs
    if hasattr(inputs, "iloc"):
        return list(inputs)  # pandas numbers rows its own way
    if isinstance(inputs, np.ndarray | Tensor):
        _check_array(inputs, name, labels)
    return inputs  # type: ignore[no-any-return]


def _is_one(inputs: Any, labels: int | None) -> bool:
    """Say whether this is one input by the rule at the top."""
    if isinstance(inputs, str | bytes | bytearray | memoryview | os.PathLike | Mapping | Image.Image):
        return True
    if not isinstance(inputs, np.ndarray | Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind in "OUS"):
        return False
    if inputs.ndim != 3:
        return inputs.ndim == 2
    if labels is not None:
        return labels == 1 and inputs.shape[0] != 1
    first, last = (side in CHANNELS for side in (inputs.shape[0], inputs.shape[-1]))
    return last or (first and (isinstance(inputs, Tensor) or inputs.shape[0] == 1))


def _check_array(array: np.ndarray[Any, Any] | Tensor, name: str, labels: int | None) -> None:
    """Refuse an array that holds no inputs along its first axis, or for which that is not clear."""
    shape = list(array.shape)
    if isinstance(array, np.ndarray) and array.dtype.kind in "OUS":
        if array.ndim != 1:
            raise UserError(f"{name}: an array of strings or objects has one axis, not {array.ndim}; {NEAREST}")
    elif array.ndim < 2 and 0 not in shape:
        raise UserError(f"{name}: an array of shape {shape} holds no images; these have at least two axes, [h, w]")
    elif labels is None and array.ndim == 3 and array.shape[0] in CHANNELS:
        raise UserError(
            f"{name}: an array of shape {shape} could be one image [c, h, w] or {shape[0]} grey ones [n, h, w];"
            " give array[None] for one, list(array) for several"
        )


def _labels(labels: Any, name: str) -> Sequence[Hashable]:
    """Return labels in a sequence; those of a data set's column as the whole data set's are, class labels by name."""
    if not isinstance(labels, Iterable) or isinstance(labels, str | bytes | Mapping | set | frozenset):
        raise UserError(f"{name}: (inputs, labels) has a list or an array of labels, not {type(labels).__name__}")
    if hasattr(labels, "to_pylist"):  # of Arrow
        return labels.to_pylist()  # type: ignore[no-any-return]
    column: Any = labels
    if _is_column(labels) and type(column.source).__name__ == "Dataset" and _plain(column.source):
        return read_labels(column.source, column.column_name, name)[0]
    if _is_column(labels) and (names := getattr(column.features, "names", None)):
        return named(list(labels), names, name, column.column_name)
    return labels if hasattr(labels, "__len__") else list(labels)  # type: ignore[return-value]


def _with_labels(data: Any) -> bool:
    """Whether this is (inputs, labels), and not a tuple of two inputs: several values that are no input are labels."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    several = hasattr(data[1], "__len__") and not _is_one(data[1], None)
    return several and getattr(data[1], "ndim", 1) == 1


def _is_table(data: Any) -> bool:
    """Whether this is a data set with columns: of the datasets library, or pandas' DataFrame."""
    return (is_hub_dataset(data) and not _is_column(data)) or (hasattr(data, "iloc") and hasattr(data, "columns"))


def _is_column(data: Any) -> bool:
    return is_hub_dataset(data) and hasattr(data, "column_name") and hasattr(data, "source")


def _plain(dataset: Any) -> bool:
    return bool(dataset.format["type"] != "custom")


def _filled(frame: Any, column: str, name: str) -> list[Any]:
    """Return the values of a DataFrame's column.

    Raises:
        UserError: a row has none.
    """
    values = frame[column]
    if (empty := values.isna().to_numpy().nonzero()[0]).size:
        raise UserError(f"{name}: row {empty[0]} has nothing in column {column!r}; fill it or leave the row out")
    return list(values)


class _Firsts(Sequence[Any]):
    """The first of each pair."""

    def __init__(self, pairs: Any) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        return self._pairs[index][0]


def _pair(data: Any, index: int, name: str) -> tuple[Any, Hashable]:
    pair = data[index]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UserError(f"{name}[{index}]: expected an (input, label) pair, not {type(pair).__name__}")
    return pair[0], pair[1]

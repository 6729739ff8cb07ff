"""Columns of a Hugging Face data set: finding those of inputs and labels, and reading them row by row."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from softtf.errors import UserError, unknown

INPUT_NAMES = ("image", "img", "images", "text", "sentence", "content")
LABEL_NAMES = ("label", "labels", "fine_label")
TABLES = ("arrow", "pandas", "polars")
"""The formats in which a row of a data set is a table."""


class Column(Sequence[Any]):
    """One column of a `datasets.Dataset`, read row by row; images are not decoded (bytes and path).

    Arrays come in the data set's format, or as those of numpy if it has none; texts and bytes come as they are.

    A name such as `title+content`, which no column has, means several columns of texts. A row's texts that are not
    empty are joined by line ends.
    """

    def __init__(self, dataset: Any, column: str) -> None:
        self._columns = _parts(dataset, column)
        kind = type(dataset.features[self._columns[0]]).__name__
        if kind in ("Image", "Value"):
            dataset = dataset.with_format(None)
        elif dataset.format["type"] in (None, *TABLES):
            dataset = dataset.with_format("numpy")
        if kind == "Image":
            from datasets import Image

            dataset = dataset.cast_column(column, Image(decode=False))
        self._dataset = dataset.select_columns(self._columns)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        row = self._dataset[index]
        if len(self._columns) == 1:
            return row[self._columns[0]]
        return "\n".join(str(row[column]) for column in self._columns if row[column])

    def sizes(self) -> np.ndarray[Any, Any] | None:
        """Return the bytes of each row's texts or undecoded image, int64 [rows]; None for a column of other values."""
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import compute, types

        total = np.zeros(len(self._dataset.data), np.int64)
        for column in self._columns:
            values = self._dataset.data.column(column)
            if types.is_struct(values.type) and values.type.get_field_index("bytes") >= 0:
                values = compute.struct_field(values, "bytes")
            if values.type not in (pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.large_binary()):
                return None
            total += compute.fill_null(compute.binary_length(values), 0).to_numpy().astype(np.int64)
        order = self._dataset._indices  # after select, shuffle and the like; else None
        return total if order is None else total[order.column(0).to_numpy()]


def _parts(dataset: Any, column: str) -> list[str]:
    return [column] if column in dataset.column_names else column.split("+")


def is_hub_dataset(data: object) -> bool:
    """Return whether `data` is a `datasets` object, without importing that (slow) library."""
    return type(data).__module__.split(".")[0] == "datasets"


def find_columns(dataset: Any, name: str, inputs: str | None = None, labels: str | None = None) -> tuple[str, str]:
    """Return the names of the input and the label column.

    Args:
        dataset: a `datasets.Dataset`.
        name: what errors call the data set.
        inputs: the input column; None takes the only image column, or the only one with a usual name.
        labels: the label column; None takes the only one with a usual name.

    Raises:
        UserError: `dataset` is not one split, a column is missing, or several could be meant.
    """
    known = one_split(dataset, name).column_names
    inputs = input_name(dataset, name, inputs)
    if labels is not None and labels not in known:
        raise unknown(f"column of {name}", labels, known)
    return inputs, labels or usual_label(known, name)


def one_split(dataset: Any, name: str) -> Any:
    """Return a data set of the `datasets` library if it is one split; raises UserError otherwise."""
    if type(dataset).__name__ != "Dataset":
        raise UserError(
            f"{name}: expected one split of a data set (a Dataset), not a {type(dataset).__name__}; give one split,"
            " such as data['train'], and a streamed data set as Dataset.from_list(list(data))"
        )
    return dataset


def input_name(dataset: Any, name: str, inputs: str | None = None) -> str:
    """Return the name of the input column; arguments and errors are as for `find_columns`."""
    if one_split(dataset, name).format["type"] == "custom":
        raise UserError(f"{name} has a transform, which would be ignored; call reset_format() on it first")
    known = dataset.column_names
    for column in [] if inputs is None else _parts(dataset, inputs):
        if column not in known:
            raise unknown(f"column of {name}", column, known)
    kinds = dataset.features  # `datasets` copies them all at each reading
    images = [column for column in known if type(kinds[column]).__name__ == "Image"]
    return inputs or usual_input(known, name, images)


def usual_input(known: Sequence[str], name: str, images: Sequence[str] = ()) -> str:
    """Return the only column of images, or the only one with a usual name; errors are as for `find_columns`."""
    return _only(images or [c for c in INPUT_NAMES if c in known], "input", "image_column", name, known)


def usual_label(known: Sequence[str], name: str) -> str:
    """Return the only column with a usual name for labels; errors are as for `find_columns`."""
    return _only([c for c in LABEL_NAMES if c in known], "label", "label_column", name, known)


def read_values(dataset: Any, column: str) -> list[Any]:
    """Return all values of `column` as Python values."""
    return list(dataset.select_columns([column]).with_format(None)[:][column])


def check_filled(dataset: Any, column: str, name: str) -> None:
    """Refuse a column with a null row, before anything is trained on the other rows.

    Joined columns, such as `title+content`, may be null.

    Raises:
        UserError: a row is null.
    """
    if column not in dataset.column_names or not dataset.data.column(column).null_count:
        return
    for row, value in enumerate(read_values(dataset, column)):
        if value is None:
            raise UserError(f"{name}: row {row} has nothing in column {column!r}; fill it or leave the row out")


def read_labels(
    dataset: Any, column: str, name: str, names: Sequence[str] | None = None
) -> tuple[list[Any], list[str] | None]:
    """Return the labels of all rows, integers as their names, and the names in order.

    The integers of two data sets both start at 0; their names tell the classes apart.

    Args:
        dataset: a `datasets.Dataset`.
        column: the label column.
        name: what errors call the data set.
        names: a name for each integer; None takes those of a ClassLabel column, if any.

    Raises:
        UserError: two integers have one name, or a label is not an integer with a name.
    """
    labels = read_values(dataset, column)
    names = names or getattr(dataset.features[column], "names", None)
    return (labels, None) if names is None else (named(labels, names, name, column), list(names))


def named(labels: Sequence[Any], names: Sequence[str], name: str, column: str) -> list[Any]:
    """Return the name of each integer label; arguments and errors are as for `read_labels`."""
    if len(set(names)) < len(names):
        twice = next(n for n in names if list(names).count(n) > 1)
        raise UserError(f"{name}: the class name {twice!r} stands for two labels; make the names differ")
    for row, label in enumerate(labels):
        if not isinstance(label, int) or not 0 <= label < len(names):
            raise UserError(
                f"{name}: label {label!r} in row {row} of column {column!r} must be an integer in "
                f"0..{len(names) - 1}, one for each of the {len(names)} class names"
            )
    return [names[label] for label in labels]


def _only(found: Sequence[str], role: str, option: str, name: str, known: Sequence[str]) -> str:
    if len(found) == 1:
        return found[0]
    problem = f"several could be the {role} column ({', '.join(found)})" if found else f"no {role} column"
    raise UserError(
        f"{name}: {problem}; name it with {option}, or give (inputs, labels), such as (data['x'], data['y'])."
        f" Columns: {', '.join(known)}"
    )

"""Tables that users give: data sets of the datasets library, and DataFrames of pandas or polars."""

from collections.abc import Hashable, Sequence
from typing import Any

from softtf.errors import UserError
from softtf.streams.columns import Column, input_name, is_hub_dataset, one_split, read_labels, usual_input, usual_label


def is_table(data: Any) -> bool:
    """Return whether this is a data set with columns: of the datasets library, or a DataFrame of pandas or polars."""
    if is_polars(data) and type(data).__name__ == "LazyFrame":
        raise UserError("a polars LazyFrame has no rows yet; call .collect() on it")
    frame = (hasattr(data, "iloc") or is_polars(data)) and hasattr(data, "columns")
    return frame or (is_hub_dataset(data) and not is_column(data))


def is_polars(data: Any) -> bool:
    """Return whether this is an object of polars."""
    return type(data).__module__.split(".")[0] == "polars"


def is_column(data: Any) -> bool:
    """Return whether this is a column of a data set of the datasets library."""
    return is_hub_dataset(data) and hasattr(data, "column_name") and hasattr(data, "source")


def plain(dataset: Any) -> bool:
    """Return whether no function of the user's transforms a data set's rows."""
    return bool(dataset.format["type"] != "custom")


def table_inputs(table: Any, name: str) -> Sequence[Any]:
    """Return the inputs of a table: its only column, or the one that is found by type and name."""
    if is_hub_dataset(table):
        known = one_split(table, name).column_names
        return Column(table, input_name(table, name, known[0] if len(known) == 1 else None))
    known = list(table.columns)
    return filled(table, known[0] if len(known) == 1 else usual_input(known, name), name)


def table_labels(table: Any, name: str) -> Sequence[Hashable]:
    """Return the labels of a table: its only column, or the one that has a usual name."""
    hub = is_hub_dataset(table)
    known = one_split(table, name).column_names if hub else list(table.columns)
    column = known[0] if len(known) == 1 else usual_label(known, name)
    return read_labels(table, column, name)[0] if hub else list(table[column])


def filled(frame: Any, column: str, name: str) -> list[Any]:
    """Return the values of a DataFrame's column.

    Raises:
        UserError: a row has no value.
    """
    values = frame[column]
    missing = values.is_null() if is_polars(values) else values.isna()
    if (empty := missing.to_numpy().nonzero()[0]).size:
        raise UserError(f"{name}: row {empty[0]} has nothing in column {column!r}; fill it or leave the row out")
    return list(values)

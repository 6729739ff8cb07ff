"""The numbers of a figure: a list of rows of one kind, the caption, and the same rows as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Numbers(Generic[Row]):
    """The rows that a figure shows; it is drawn from nothing else.

    rows: dataclasses of one kind; the fields of a dataclass in a row are columns as well. caption: what was measured:
    stream, policy, seed, backbone.
    """

    rows: Sequence[Row]
    caption: str

    def to_csv(self) -> str:
        """Return the rows as CSV; floats keep all digits, and None is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_cells(self.rows[0]))
        writer.writerows(_cells(row).values() for row in self.rows)
        return text.getvalue()


def _cells(row: Any) -> dict[str, Any]:
    """Return the values of a row by column."""
    cells: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        cells |= _cells(value) if is_dataclass(value) else {field.name: value}
    return cells

"""The numbers of a figure: a list of rows of one kind, the caption, and the same rows as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Numbers(Generic[Row]):
    """The rows that a figure shows; it is drawn from nothing else.

    rows: dataclasses of one kind. caption: what was measured: stream, policy, seed, backbone.
    """

    rows: Sequence[Row]
    caption: str

    def to_csv(self) -> str:
        """Return the rows as CSV; floats keep all digits, and None is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        first: Any = self.rows[0]
        names = [field.name for field in fields(first)]
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in self.rows)
        return text.getvalue()

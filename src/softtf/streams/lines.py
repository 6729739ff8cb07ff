"""The lines of users' text files, read one by one, with limits on the file, on a line and on the number of lines."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from softtf.errors import UserError, reason_of
from softtf.files.reading import ROWS, open_regular

BOM = "\ufeff"
LONGEST = 2**24
"""The most bytes of a line."""
MOST = 2**24
"""The most lines of a file."""


def lines(file: Path) -> Iterator[str]:
    r"""Yield each line of a text file with `\n` at its end, for the line ends of Unix, Windows and old Macs.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or exceeds a limit.
    """
    try:
        with open_regular(file, ROWS) as opened:
            yield from within_bounds(opened, str(file))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from None


def within_bounds(opened: io.BufferedIOBase | Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the lines of an open file, as `lines` does; errors call it `name`."""
    place = 0
    for number in range(1, MOST + 2):
        if not (raw := opened.readline(LONGEST + 1)):  # type: ignore[union-attr]
            return
        if len(raw) > LONGEST:
            raise UserError(f"{name}, line {number}: it has more than {LONGEST:,} bytes; cut it in pieces")
        if number > MOST or place > ROWS:
            break
        try:
            text = raw.decode("utf-8").removeprefix("" if place else BOM)
        except UnicodeDecodeError as error:
            raise UserError(f"{name} is not UTF-8 (byte {place + error.start}); save it as UTF-8") from None
        place += len(raw)
        yield from io.StringIO(text, newline=None) if "\r" in text else filter(None, (text,))
    raise UserError(
        f"{name} has more than {MOST:,} lines or {ROWS:,} bytes; cut it in pieces, or save its rows as .parquet"
    )

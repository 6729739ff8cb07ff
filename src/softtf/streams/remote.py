"""Parquet files elsewhere: at URLs that fsspec reads (s3, gs, http, hf, ...), up to a limit."""

import re
from typing import Any

from softtf.errors import UserError, one_line
from softtf.files.reading import ROWS
from softtf.streams.folders import rows_in
from softtf.streams.parquet_bounds import check_size

URL = re.compile(r"[a-z][a-z0-9+.-]+://.+", re.IGNORECASE)


def is_url(source: str) -> bool:
    """Return whether a source is a URL."""
    return URL.fullmatch(source) is not None


def read_url(url: str) -> Any:
    """Return the rows of a parquet file at a URL as a `datasets.Dataset`, in memory.

    Raises:
        UserError: it is no parquet file, it cannot be reached, or it or its rows would take too much memory.
    """
    if not url.lower().endswith(".parquet") or "::" in url:
        raise UserError(f"{url!r}: of URLs, those of .parquet files are read; download other data and give its folder")
    data = _content(url)
    try:
        check_size(data, url)
        return rows_in(data)
    except UserError:
        raise
    except Exception as error:  # of pyarrow and datasets: many kinds
        raise UserError(f"{url} is not a readable parquet file: {one_line(error, 200)}") from error


def _content(url: str) -> bytes:
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(url, "rb", expand=False) as opened:
            data: bytes = opened.read(ROWS + 1)
    except Exception as error:  # each file system has its own kinds
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        raise UserError(f"{url} cannot be read ({reason}); download it, and give the file") from error
    if len(data) > ROWS:
        raise UserError(f"{url} has more than {ROWS:,} bytes; download it, and give the file")
    return data

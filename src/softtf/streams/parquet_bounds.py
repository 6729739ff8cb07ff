"""How much memory the rows of a parquet file take: a tiny file can hold rows that fill the machine.

A column's values may be references to one long text, so that neither the size of a file nor the sizes that it declares
say what its rows take. Columns of texts and bytes are therefore read once as references.
"""

import os
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from softtf.errors import UserError
from softtf.files.reading import open_regular

LARGEST = 2**29
"""Bytes that the rows of a small file may take."""
TIMES = 64
"""Times its own size that the rows of a larger file may take; usual data take one to ten times."""
PER_ROW = 64
"""Bytes that a row takes at least: its label, in Python."""
READ = 2**27
"""Bytes up to which a file is read to find out; a larger one is believed."""
AT_ONCE, FEW, MANY = 2**26, 16, 2**16  # bytes that are read at once, and rows
WIDTHS = {"INT96": 12}  # bytes of a number in memory; of others 8 at most


def check_size(source: Path | bytes, name: str) -> None:
    """Refuse a parquet file whose rows would take too much memory, before they take it.

    Args:
        source: the file, or its content.
        name: what errors call it.

    Raises:
        UserError: they would take more than LARGEST bytes and more than TIMES the file's size.
        OSError: the file cannot be opened, or is no regular file.
        pyarrow.ArrowException: the file is damaged.
    """
    import pyarrow.parquet  # type: ignore[import-untyped]

    with _opened(source, 2**60) as opened:
        own = opened.seek(0, os.SEEK_END)
        about = pyarrow.parquet.read_metadata(opened)
    most = max(LARGEST, TIMES * own)
    if _declared(about) > most or (own <= READ and _texts(source, about, most) > most):
        raise UserError(
            f"{name}: its rows would take more than {most:,} bytes of memory, the most for a file of {own:,} bytes;"
            " cut it in pieces, or write it without compression"
        )


def _opened(source: Path | bytes, most: int) -> IO[bytes]:
    return open_regular(source, most) if isinstance(source, Path) else BytesIO(source)


def _declared(about: Any) -> int:
    """Return the bytes that a file's rows take by what its metadata say; of texts that is a lower bound."""
    size = PER_ROW * int(about.num_rows)
    for group in (about.row_group(i) for i in range(about.num_row_groups)):
        for index in range(group.num_columns):
            chunk = group.column(index)
            width = about.schema.column(index).length or WIDTHS.get(chunk.physical_type, 8)
            size += max(chunk.num_values * width, chunk.total_uncompressed_size)
    return size


def _texts(source: Path | bytes, about: Any, most: int) -> int:
    """Return the bytes of all texts and bytes in a file's columns, or more than `most` as soon as there are more."""
    import pyarrow.parquet

    size = 0
    for index, column in enumerate(about.schema.column(i) for i in range(about.num_columns)):
        if column.physical_type != "BYTE_ARRAY":
            continue
        groups = [about.row_group(i).column(index) for i in range(about.num_row_groups)]
        # Arrow has no references for these encodings, in which a text may repeat the one before.
        delta = any(encoding.startswith("DELTA") for group in groups for encoding in group.encodings)
        usual = AT_ONCE * about.num_rows // max(1, sum(group.total_uncompressed_size for group in groups))
        rows = FEW if delta else min(max(FEW, usual), MANY)
        with _opened(source, READ) as opened:
            reader = pyarrow.parquet.ParquetFile(opened, read_dictionary=[] if delta else [column.path])
            for batch in reader.iter_batches(rows, columns=[column.path], use_threads=False):
                size += batch.nbytes if delta else _length(batch.column(0))
                if size > most:
                    return size
    return size


def _length(values: Any) -> int:
    """Return the bytes of the texts that an array of references, perhaps in lists or structures, stands for."""
    from pyarrow import compute, types

    while not types.is_dictionary(values.type):
        values = values.flatten()[0] if types.is_struct(values.type) else values.flatten()
    return compute.sum(compute.binary_length(values.dictionary).take(values.indices)).as_py() or 0

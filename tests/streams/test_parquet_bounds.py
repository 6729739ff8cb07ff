"""Tiny parquet files whose rows would fill the machine are refused; what they say of themselves is not believed."""

import io
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from softtf.errors import UserError, visible
from softtf.streams import load_source
from softtf.streams.parquet_bounds import LARGEST, check_size
from support.limits import linux, with_little_memory
from support.slow import each

LONG = "x" * 1_000_000


def written(file: Path, columns: dict[str, Any], **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), file, compression="zstd", store_schema=False, **options)
    return file


def references(count: int) -> Any:
    """A column of one long text, `count` times, that takes little memory."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(count, np.int32)), pyarrow.array([LONG]))


def repeated(folder: Path) -> Path:
    return written(folder / "train.parquet", {"text": references(3000), "label": [0, 1] * 1500})


def prefixes(folder: Path) -> Path:
    """Each text is the one before, by an encoding of its own."""
    columns = {"text": [LONG] * 700, "label": [0, 1] * 350}
    encoding = {"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"}
    return written(folder / "train.parquet", columns, use_dictionary=False, column_encoding=encoding)


def packed(folder: Path) -> Path:
    """A text of zeros for each row, which compresses well."""
    return written(
        folder / "train.parquet", {"text": [bytes(2**20)] * 1000, "label": [0, 1] * 500}, use_dictionary=False
    )


def many(folder: Path) -> Path:
    count = LARGEST // 64 + 2
    columns = {"text": pyarrow.nulls(count), "label": pyarrow.array(np.zeros(count, np.int8))}
    return written(folder / "train.parquet", columns)


@pytest.mark.slow
@linux
@each("make", {made.__name__: made for made in (repeated, prefixes, packed, many)}, ("repeated", "many"))
def test_rows_that_would_fill_the_memory_are_refused(make: Any, tmp_path: Path) -> None:
    file = make(tmp_path)
    assert file.stat().st_size < 200_000
    for source in (tmp_path, file):
        code, line = with_little_memory(2**30, lambda source=source: load_source(str(source)))  # type: ignore
        assert code == 2 and "train.parquet: its rows would take more than 536,870,912 bytes of memory" in line


@pytest.mark.parametrize(
    "column",
    [
        ["a", "bb", None] * 100,
        [{"bytes": b"abc", "path": "x"}] * 300,
        [["a", "b"], [], None] * 100,
        pyarrow.array(["a"] * 300, pyarrow.large_string()),
        pyarrow.array([b"aa"] * 300, pyarrow.binary(2)),
        pyarrow.array(["a", "b"] * 150).dictionary_encode(),
        pyarrow.nulls(300),
        [LONG] * 300,
    ],
    ids=["texts", "images", "lists", "large", "fixed", "dictionary", "nulls", "long"],
)
def test_usual_columns_are_read(column: Any, tmp_path: Path) -> None:
    for name, values in (("a.parquet", column), ("empty.parquet", column[:0])):
        file = written(tmp_path / name, {"x": values})
        check_size(file, name)
        check_size(file.read_bytes(), name)


def test_datasets_logs_no_name_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31mRED"
    folder.mkdir()
    written(folder / "train-0.parquet", {"text": ["abc"] * 9, "label": [0, 1, 0] * 3})
    written(folder / "train-1.parquet", {"text": ["abc"] * 9, "other": [1] * 9})
    logged = io.StringIO()
    logger, handler = logging.getLogger(datasets.__name__), logging.StreamHandler(logged)
    logger.addHandler(handler)
    before = logger.level
    try:
        with pytest.raises(UserError) as caught:
            load_source(str(folder))
    finally:
        logger.removeHandler(handler)
    assert logger.level == before and not logged.getvalue() and visible(str(caught.value)) == str(caught.value)

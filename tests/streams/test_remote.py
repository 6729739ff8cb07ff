"""Parquet at a URL is read as the file is, within bounds."""

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from softtf.errors import UserError
from softtf.streams import load_source, remote
from softtf.streams.sources import read_source


@pytest.fixture
def url() -> str:
    """In fsspec's own memory, as if far away."""
    table = pyarrow.table({"text": [f"text {i}" for i in range(10)], "label": ["a", "b"] * 5})
    with fsspec.open("memory://there/rows.parquet", "wb") as opened:
        pyarrow.parquet.write_table(table, opened)
    return "memory://there/rows.parquet"


def test_rows_are_those_of_the_file(url: str) -> None:
    found, test = read_source(url)
    assert [found[i] for i in range(10)] == [f"text {i}" for i in range(10)] and test is None
    train, test = load_source(url)
    assert len(train) == 8 and test is not None and len(test) == 2


def test_rows_that_would_fill_the_memory_are_refused(url: str) -> None:
    column = pyarrow.DictionaryArray.from_arrays([0] * 600, ["x" * 1_000_000])
    with fsspec.open(url, "wb") as opened:
        pyarrow.parquet.write_table(pyarrow.table({"text": column}), opened, compression="zstd", store_schema=False)
    with pytest.raises(UserError, match=f"^{url}: its rows would take more than 536,870,912 bytes"):
        read_source(url)


def test_what_cannot_be_read_is_refused_in_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fsspec.open("memory://there/noise.parquet", "wb") as opened:
        opened.write(b"noise")
    wrong = {
        "memory://there/rows.csv": "of URLs, those of .parquet files",
        "memory://nothing/rows.parquet": "cannot be read",
        "memory://there/noise.parquet": "not a readable parquet",
        "memory://there/*.parquet": "cannot be read",
        "nosuch://there/rows.parquet": "cannot be read",
        "zip://x::memory://there/rows.parquet": "of URLs, those of .parquet files",
    }
    for place, words in wrong.items():
        with pytest.raises(UserError, match=words) as error:
            read_source(place)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="without splits"):
        load_source(url, split_train="learn")
    monkeypatch.setattr(remote, "ROWS", 100)
    with pytest.raises(UserError, match="more than 100 bytes"):
        read_source(url)

"""No path of a user's is ever a pattern: a folder or file of any name gives its own data, not a sibling's."""

import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from softtf.streams import load_sets, load_source
from softtf.streams.files import read_texts
from softtf.streams.sources import local_path, located

NAMES = ["run[1]", "a*b", "q?", "x{1,2}", "a::b", "zip:", "50%", " leading space", "ü", "~tilde", "hf:", "#1", "a'b"]
"""A folder of each name stands beside those that it would name if it were a pattern."""
SIBLINGS = ["run1", "aXb", "qq", "x1", "a", "b"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def shelf(root: Path) -> list[Path]:
    folders = [root / name for name in (*SIBLINGS, *NAMES)]
    for folder in folders:
        folder.mkdir()
    return folders


def write_parquet(file: Path, text: str, rows: int = 5) -> None:
    pyarrow.parquet.write_table(
        pyarrow.table({"text": [f"{text} {i}" for i in range(rows)], "label": [0] * rows}), file
    )


@pytest.mark.parametrize("kind", ["images", "parquet", "a set of several", "csv", "tsv", "jsonl", "parquet file"])
def test_a_folder_of_any_name_gives_its_own_data(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(shelf(tmp_path)):
        text = f"row of {folder.name}"
        if kind == "images":
            (folder / "ant").mkdir()
            for i in range(2):
                Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / "ant" / f"{i}.png")
        elif kind == "parquet":
            write_parquet(folder / "train.parquet", text)
        elif kind == "a set of several":
            write_parquet(folder / f"{folder.name}_train.parquet", text)
        elif kind == "parquet file":
            write_parquet(folder / f"{folder.name}.parquet", text)
        elif kind == "jsonl":
            rows = [f'{{"text": "{text} {i}", "label": 0}}' for i in range(5)]
            (folder / f"{folder.name}.jsonl").write_text("\n".join(rows))
        else:
            rows = [("text", "label"), *((f"{text} {i}", "0") for i in range(5))]
            comma = "," if kind == "csv" else "\t"
            (folder / f"{folder.name}.{kind}").write_text("\n".join(f'"{text}"{comma}{label}' for text, label in rows))
    for name in (*SIBLINGS, *NAMES):
        if kind == "a set of several":
            train, test = load_sets([name], name, merged=True)[name]
        elif kind in ("images", "parquet"):
            train, test = load_source(name)
        else:
            file = Path(name, f"{name}.{kind.removesuffix(' file')}")
            train, test = load_source(str(file))
            assert read_texts(file) == [f"row of {name} {i}" for i in range(5)]
        assert test is not None
        if kind == "images":
            assert {path.parent.parent.name for path in (*train, *test)} == {name}
        else:
            assert sorted((*train, *test)) == [f"row of {name} {i}" for i in range(5)]


def test_a_parquet_file_that_was_replaced_is_read_anew_though_its_time_stayed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", "old")
    state = (tmp_path / "train.parquet").stat()
    assert load_source(str(tmp_path))[0][0].startswith("old")
    write_parquet(tmp_path / "train.parquet", "new", rows=6)
    os.utime(tmp_path / "train.parquet", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert load_source(str(tmp_path))[0][0].startswith("new")


def test_a_split_is_no_pattern(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train1.parquet", "sibling")
    write_parquet(tmp_path / "train[1].parquet", "named")
    assert load_source(str(tmp_path), split_train="train[1]")[0][0].startswith("named")


def test_a_tilde_is_the_home_folder_only_where_nothing_is_so_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "~odd").mkdir()
    assert located("~/data") == str(tmp_path / "home" / "data")
    assert located("~odd") == str(tmp_path / "~odd")
    assert local_path("~nobody-has-this-name/data") == Path("~nobody-has-this-name/data")
    for same in ("digits", "cifar100", "owner/name", "~nobody-has-this-name"):
        assert located(same) == same

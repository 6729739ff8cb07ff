"""A range in a path stands for its archives, in their order, to learn as to predict; nothing else does."""

from pathlib import Path

import pytest

from softtf.cli.options import Predict
from softtf.cli.predict_inputs import rows_of
from softtf.errors import UserError
from softtf.streams import examples_from, glob, located, unlabelled
from softtf.streams.shards import shards
from softtf.streams.sources import read_source
from streams.test_load_archive import contents, pack, picture, read


def webdataset(file: Path, labels: list[bytes], first: int = 0) -> Path:
    files = {f"{first + i:04}.cls": label for i, label in enumerate(labels)}
    return pack(file, files | {f"{first + i:04}.png": picture(first + i) for i in range(len(labels))})


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    """Shards 8 to 11 of two images each."""
    for number in range(8, 12):
        webdataset(tmp_path / f"shard-{number:03}.tar", [b"7", b"3"], 2 * number)
    return str(tmp_path / "shard-{008..011}.tar")


def test_shards_are_learned_and_answered_as_one_after_another(pattern: str, tmp_path: Path) -> None:
    each = [tmp_path / f"shard-{number:03}.tar" for number in range(8, 12)]
    assert shards(Path(pattern)) == each
    expected = [pair for file in each for pair in read(examples_from(file))]
    found, test = read_source(pattern)
    assert read(found) == expected and test is None and found.classes == (3, 7)
    inputs = unlabelled(pattern, folders=True)
    assert [inputs[i]["bytes"] for i in range(len(inputs))] == [image for image, _ in expected]
    rows, unread = rows_of(Predict(folder=Path(), inputs=(pattern,)), False)
    assert [value()["bytes"] for _, value in rows] == [image for image, _ in expected] and not unread
    assert rows[2][0] == f"{each[1]}/0018.png"


def test_a_run_keeps_their_full_path(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(Path(pattern).name) == pattern


def test_labels_are_integers_only_if_all_are(pattern: str, tmp_path: Path) -> None:
    webdataset(tmp_path / "shard-011.tar", [b"wren", b"7"])
    assert examples_from(pattern).labels == ("7", "3") * 3 + ("wren", "7")


def test_splits_and_several_ranges_are_joined(tmp_path: Path) -> None:
    for a in range(2):
        (tmp_path / f"part{a}").mkdir()
        for b in range(2):
            names = {f"{split}/robin/{split}{a}{b}.png": 10 * a + b for split in ("train", "val")}
            pack(tmp_path / f"part{a}/{b}.zip", contents(names))
    train, test = read_source(str(tmp_path / "part{0..1}/{0..1}.zip"))
    assert test is not None
    assert [train[i]["path"][-6:-4] for i in range(4)] == ["00", "01", "10", "11"] == [t["path"][-6:-4] for t in test]


def test_what_cannot_be_is_refused(pattern: str, tmp_path: Path) -> None:
    wrong = {
        "shard-{008..012}.tar": "names 5 archives, and .*shard-012.tar is not there; change the range",
        "shard-{8..9}.tar": "shard-8.tar is not there",
        "shard-{011..008}.tar": "runs backwards",
        "shard-{0..999999999}.tar": "names more than 10,000 archives",
        "shard-{0..999}{0..999}.tar": "names more than 10,000 archives",
        "rows-{0..3}.parquet": "a range is read in the names of archives alone",
        "shard-{a,b}.tar": "a range is read in the names of archives alone",
    }
    for name, words in wrong.items():
        with pytest.raises(UserError, match=words):
            read_source(str(tmp_path / name))
    with pytest.raises(UserError, match="Give one archive by its path, several as shard"):
        glob(f"{tmp_path}/*.tar")
    webdataset(tmp_path / "odd-{1..2}.tar", [b"1"])
    assert shards(tmp_path / "odd-{1..2}.tar") == [] and len(examples_from(tmp_path / "odd-{1..2}.tar")) == 1

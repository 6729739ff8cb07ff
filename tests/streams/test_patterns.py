"""A pattern is read as one only by `glob`; its images have their folder's name as label."""

from pathlib import Path

import pytest

import softtf
from softtf.errors import UserError
from softtf.streams import examples_from, load_source, patterns
from softtf.streams.decode import decode


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("may/wren/1.png", "may/robin/2.png", "june/robin/3.jpg", "june/robin/.4.png", "june/robin/5.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_images_are_named_with_their_folders(photos: Path) -> None:
    found = softtf.glob(f"{photos}/*/*/*")
    assert list(found) == [str(photos / n) for n in ("june/robin/3.jpg", "may/robin/2.png", "may/wren/1.png")]
    assert found.labels == ("robin", "robin", "wren") and examples_from(found) is found
    assert list(softtf.glob(f"{photos}/**/*.png")) == list(softtf.glob(f"{photos}/may/*/*.png"))


def test_what_names_no_image_or_too_many_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern, words in (("*.png", "names no image"), ("june/robin/*.txt", "names no image; it names 1 others")):
        with pytest.raises(UserError, match=words):
            softtf.glob(f"{photos}/{pattern}")
    monkeypatch.setattr(patterns, "MOST", 2)
    with pytest.raises(UserError, match="more than 2 files"):
        softtf.glob(f"{photos}/*/*/*")


def test_a_path_is_no_pattern_elsewhere(photos: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        examples_from(f"{photos}/*")


def test_a_pattern_where_a_path_belongs_is_told_of_glob(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*; a path is no pattern: give softtf.glob\(pattern\)"):
        load_source(str(tmp_path / "*/*.png"))
    with pytest.raises(UserError, match=r"does not exist; a path is no pattern"):
        decode(str(tmp_path / "[ab].png"), "image 1")
    with pytest.raises(UserError, match=r"expected an \(input, label\) pair, not str; give \(inputs, labels\)"):
        examples_from([str(tmp_path / "a.png"), str(tmp_path / "b.png")], "month 1")
    with pytest.raises(UserError, match=r"expected an \(input, label\) pair, not one of 3 values"):
        examples_from([("a.png", "cat", 1)], "month 1")

"""Folders of images as users have them: splits of any usual name, litter, every kind of image, links."""

import os
from collections.abc import Iterable
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from softtf.errors import UserError
from softtf.streams import load_source
from softtf.streams.decode import decode
from softtf.streams.splits import begins_as
from softtf.streams.walk import image_endings


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def picture(path: Path, shade: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(path)
    return path


def fill(folder: Path, classes: Iterable[str] = ("ant", "bee"), images: int = 2) -> None:
    for name in classes:
        for i in range(images):
            picture(folder / name / f"{i}.png")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAINING", "TESTING"),
        ("training", "testing"),
        ("train", "val"),
        ("Training", "Valid"),
        ("train", "validation"),
        ("train", "dev"),
        ("train", "Eval"),
    ],
)
def test_splits_of_usual_names_are_known_in_any_case_and_said(tmp_path: Path, train: str, test: str) -> None:
    fill(tmp_path / "x" / train, images=3)
    fill(tmp_path / "x" / test)
    said: list[str] = []
    learned, tested = load_source(str(tmp_path / "x"), say=said.append)
    assert tested is not None
    assert learned.classes == tested.classes == ("ant", "bee")
    assert (len(learned), len(tested)) == (6, 4)
    assert {path.parent.parent.name for path in tested} == {test}
    assert said == [f"x: learns from {train}/ (6), tests on {test}/ (4)"]


def test_of_test_and_val_test_is_used_and_that_is_said(tmp_path: Path) -> None:
    for split in ("train", "test", "Val", "extra"):
        fill(tmp_path / "x" / split)
    said: list[str] = []
    _, test = load_source(str(tmp_path / "x"), say=said.append)
    assert test is not None and {path.parent.parent.name for path in test} == {"test"}
    assert said == ["x: learns from train/ (4), tests on test/ (4); Val/, extra/ are not read"]
    _, test = load_source(str(tmp_path / "x"), split_test="val")
    assert test is not None and {path.parent.parent.name for path in test} == {"Val"}
    for options in ({"split_test": "held"}, {"split_train": "held"}):
        with pytest.raises(UserError, match="unknown folder in .* 'held'"):
            load_source(str(tmp_path / "x"), **options)


def test_what_is_held_out_of_a_folder_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "x", images=5)
    fill(tmp_path / "x", ["cat"], images=1)
    said: list[str] = []
    train, test = load_source(str(tmp_path / "x"), say=said.append)
    assert test is not None and (len(train), len(test)) == (9, 2)
    assert said == [
        "x: 2 of 11 examples are held out for testing, a fifth of every class; 1 with one example is not tested"
    ]


def test_class_folders_that_hold_only_folders_are_refused_with_what_was_found(tmp_path: Path) -> None:
    for split in ("learn", "probe"):
        fill(tmp_path / "x" / split)
    with pytest.raises(UserError, match=r"x/learn: the images of this class folder are in folders \(ant, bee\)"):
        load_source(str(tmp_path / "x"))
    train, test = load_source(str(tmp_path / "x"), split_train="learn", split_test="probe")
    assert test is not None and train.classes == ("ant", "bee")
    fill(tmp_path / "y" / "data" / "train")
    with pytest.raises(UserError, match=r"y/data: the images of this class folder are in folders \(train\)"):
        load_source(str(tmp_path / "y"))
    fill(tmp_path / "z" / "train" / "deep")
    fill(tmp_path / "z" / "train", ["wolf"])
    with pytest.raises(UserError, match="train/deep: the images of this class folder are in folders"):
        load_source(str(tmp_path / "z"))
    fill(tmp_path / "v" / "Test")
    with pytest.raises(UserError, match="v/Test: the images of this class folder are in folders"):
        load_source(str(tmp_path / "v"))


@pytest.mark.parametrize("stray", ["labels.csv", "preview.png", "images"])
def test_splits_of_unusual_names_are_no_classes_whatever_stands_beside_their_folders(
    tmp_path: Path, stray: str
) -> None:
    for split in ("training_set", "test_set"):
        root = tmp_path / split
        fill(root / "images" if stray == "images" else root)
        if stray == "preview.png":
            picture(root / stray)
        elif stray != "images":
            (root / stray).touch()
    with pytest.raises(UserError, match=r"test_set: the images .* are in folders \(ant, bee\)"):
        load_source(str(tmp_path))


def test_a_group_of_classes_in_a_split_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "animals", ["cat", "dog"])
    (tmp_path / "train" / "animals" / "readme.txt").touch()
    with pytest.raises(UserError, match=r"animals: the images .* are in folders \(cat, dog\)"):
        load_source(str(tmp_path))


def test_images_in_folders_of_class_folders_are_said(tmp_path: Path) -> None:
    fill(tmp_path / "x")
    for name in ("ant", "bee"):
        fill(tmp_path / "x" / name, ["masks", "augmented"])
    fill(tmp_path / "x" / "cat", ["images"])
    said: list[str] = []
    train, test = load_source(str(tmp_path / "x"), say=said.append)
    assert test is not None and len(train) + len(test) == 14
    assert said[0] == "x: also reads 8 images in folders of class folders: augmented/ (4), masks/ (4)"


def test_splits_whose_images_stand_in_no_class_folder_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["train", "test"])
    with pytest.raises(UserError, match="train: .*no class folders.*holds 2 images outside class folders"):
        load_source(str(tmp_path))


def test_a_class_may_be_named_as_a_split(tmp_path: Path) -> None:
    fill(tmp_path, ["train", "bus"])
    assert load_source(str(tmp_path))[0].classes == ("bus", "train")


LITTER = (
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".ipynb_checkpoints/0-checkpoint.png",
    "__MACOSX/._0.png",
    "._0.png",
    ".hidden/0.png",
    "notes.txt",
    "__pycache__/0.png",
    "System Volume Information/0.png",
    "#recycle/0.png",
    "_MACOSX/0.png",
    "FOUND.000/0.png",
    "~$notes.png",
)


@pytest.mark.parametrize("place", ["", "train", "train/ant"])
def test_litter_is_passed_over_and_counted_wherever_it_is(tmp_path: Path, place: str) -> None:
    root = tmp_path / "x"
    fill(root / "train")
    fill(root / "test")
    want = [list(part) for part in load_source(str(root)) if part is not None]
    for name in LITTER:
        if name.endswith(".png"):
            picture(root / place / name)
        else:
            (root / place / name).write_text("litter")
    said: list[str] = []
    train, test = load_source(str(root), say=said.append)
    assert train.classes == ("ant", "bee") and [list(train), list(test or ())] == want
    assert said[1:] == [
        "x: skipped 1 #recycle, 1 *.txt, 1 .DS_Store, 1 ._*, 1 .hidden, 1 .ipynb_checkpoints, 1 FOUND.000,"
        " 1 System Volume Information, 1 Thumbs.db, 1 _MACOSX, 1 __MACOSX, 1 __pycache__, 1 desktop.ini, 1 ~$notes.png"
    ]


def test_litter_beside_parquet_files_is_passed_over(tmp_path: Path) -> None:
    table = pyarrow.table({"text": [f"t{i}" for i in range(10)], "label": [0, 1] * 5})
    pyarrow.parquet.write_table(table, tmp_path / "TRAIN-0.parquet")
    (tmp_path / "._train-0.parquet").write_bytes(b"resource fork")
    (tmp_path / "test.parquet").mkdir()
    for split in ("train", "all"):
        train, test = load_source(str(tmp_path), split_train=split)
        assert test is not None and len(train) + len(test) == 10


def test_the_usual_kinds_of_images_are_read(tmp_path: Path) -> None:
    asked = {".jfif", ".avif", ".jp2", ".tga", ".ppm", ".pgm", ".pbm", ".JPG", ".Tiff", ".webp", ".gif", ".mpo", ".qoi"}
    assert {ending.lower() for ending in asked} <= image_endings()
    assert {".bmp", ".png", ".tif", ".jpeg"} <= image_endings()
    assert not image_endings() & {".pdf", ".h5", ".mpg", ".txt", ""}
    Image.init()
    written = 0
    for ending in sorted({*asked, *image_endings()}):
        name = Image.registered_extensions()[ending.lower()]
        if name in Image.SAVE:
            try:
                Image.new("RGB", (16, 16)).save(tmp_path / f"x{ending}", name)
            except OSError:  # a codec that is not in this build
                continue
            (tmp_path / "ant").mkdir(exist_ok=True)
            (tmp_path / f"x{ending}").rename(tmp_path / "ant" / f"x{ending}")
            written += 1
    train, test = load_source(str(tmp_path))
    assert test is not None and written > 20 and len(train) + len(test) == written
    for image in (*train, *test):
        assert decode(image, "").shape == (3, 16, 16)


def test_a_folder_named_as_an_image_is_a_folder(tmp_path: Path) -> None:
    fill(tmp_path, ["ant", "bee"])
    picture(tmp_path / "ant" / "dir.png" / "0.png")
    fill(tmp_path, ["class.jpg"])
    train, test = load_source(str(tmp_path))
    assert test is not None and train.classes == ("ant", "bee", "class.jpg")
    assert len(train) + len(test) == 7 and all(path.is_file() for path in (*train, *test))


def test_links_are_followed_once_and_one_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "x", ["ant"])
    fill(tmp_path / "elsewhere", ["bee", "more"])
    (tmp_path / "x" / "bee").symlink_to(tmp_path / "elsewhere" / "bee")
    (tmp_path / "x" / "ant" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "x" / "ant" / "again").symlink_to(tmp_path / "x" / "ant")
    (tmp_path / "x" / "ant" / "9.png").symlink_to(tmp_path / "elsewhere" / "bee" / "0.png")
    said: list[str] = []
    train, test = load_source(str(tmp_path / "x"), say=said.append)
    assert test is not None and sorted((*train.labels, *test.labels)) == ["ant"] * 5 + ["bee"] * 2
    assert said[:2] == [
        "x: skipped 1 link to a folder that is read already",
        "x: also reads 2 images in folders of class folders: more/ (2)",
    ]
    os.unlink(tmp_path / "elsewhere" / "bee" / "0.png")
    with pytest.raises(UserError, match=r"9\.png is a link to .*bee/0\.png, which is missing"):
        load_source(str(tmp_path / "x"))


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"no image", "unknown format")])
def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path: Path, content: bytes, words: str) -> None:
    fill(tmp_path, ["ant"])
    (tmp_path / "ant" / "bad.jfif").write_bytes(content)
    train, test = load_source(str(tmp_path))
    assert test is not None
    bad = next(path for path in (*train, *test) if path.suffix == ".jfif")
    with pytest.raises(UserError, match=rf"bad\.jfif.*{words}"):
        decode(bad, "x")


def test_a_class_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    fill(tmp_path, ["ant"])
    (tmp_path / "bee").mkdir()
    with pytest.raises(UserError, match=r"bee: this class folder holds no images \(it is empty\)"):
        load_source(str(tmp_path))
    (tmp_path / "bee" / "a.heif").touch()
    with pytest.raises(UserError, match=r"bee: .* no images \(it holds 1 \*\.heif\)"):
        load_source(str(tmp_path))


@pytest.mark.parametrize(
    ("split", "names", "found"),
    [
        ("train", ["train-00000-of-2.parquet", "train-00001-of-2.parquet", "test.parquet"], [0, 1]),
        ("train", ["Training.parquet", "x.parquet"], [0]),
        ("test", ["train.parquet", "val.parquet", "dev.parquet"], [1]),
        ("test", ["test-0.parquet", "val.parquet", "TEST_1.parquet", "testing.parquet"], [0, 2]),
        ("test", ["train.parquet", "values.parquet", "testament.parquet"], []),
        ("train", ["train_labels.parquet", "train.parquet"], [1]),
        ("train", ["train_labels.parquet", "training_0.parquet"], [1]),
        ("train", ["train_labels.parquet", "values.parquet"], [0]),
        ("train", ["train_labels.parquet", "train_images.parquet"], []),
        ("train", ["train-00000-of-00001-a09b74b3ef9c3b56.parquet", "train2.snappy.parquet"], [0, 1]),
        ("test", ["validate.parquet"], [0]),
        ("test", ["dev_0.parquet", "train.parquet"], [0]),
        ("test", ["device.parquet", "evaluated.parquet"], []),
        ("test", ["evaluation.parquet"], [0]),
        ("val", ["test.parquet", "validation.parquet"], [1]),
        ("background", ["background.parquet", "train.parquet"], [0]),
        ("Background", ["background.parquet"], [0]),
    ],
)
def test_files_are_of_the_split_that_their_names_begin_with(split: str, names: list[str], found: list[int]) -> None:
    assert begins_as(split, names) == [names[i] for i in found]


def test_which_parquet_file_became_which_split_is_said(tmp_path: Path) -> None:
    root = tmp_path / "x"
    root.mkdir()
    for name, rows in (("Train-0", 4), ("Train-1", 2), ("dev", 3), ("spare", 1)):
        table = pyarrow.table({"text": [f"{name} {i}" for i in range(rows)], "label": [0] * rows})
        pyarrow.parquet.write_table(table, root / f"{name}.parquet")
    said: list[str] = []
    load_source(str(root), say=said.append)
    assert said == [
        "x: learns from Train-0.parquet and 1 more (6), tests on dev.parquet (3); spare.parquet is not read"
    ]
    with pytest.raises(UserError, match="no parquet file is named 'held'"):
        load_source(str(root), split_test="held")

"""Tiny-ImageNet and CUB-200 as their makers pack them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softtf.errors import UserError
from softtf.streams import load_source


def image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, dtype=np.uint8)).save(path)


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-imagenet-200"
    for i, label in enumerate(("n01", "n02")):
        for n in range(2):
            image(folder / "train" / label / "images" / f"{label}_{n}.png", i)
        (folder / "train" / label / f"{label}_boxes.txt").write_text("a 0 0 1 1\n")
    for n in range(3):
        image(folder / "val" / "images" / f"val_{n}.png", n)
    (folder / "val" / "val_annotations.txt").write_text(
        "val_0.png\tn02\t0\t0\t3\t3\nval_1.png\tn01\t0\t0\t3\t3\nval_2.png\tn02\t0\t0\t3\t3\n"
    )
    image(folder / "test" / "images" / "test_0.png", 9)  # without labels, of no use
    return folder


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    folder = tmp_path / "CUB_200_2011"
    files = [f"{c}/{c}_{n}.png" for c in ("001.Gull", "002.Wren") for n in range(3)]
    for i, file in enumerate(files):
        image(folder / "images" / file, i)
    (folder / "images.txt").write_text("".join(f"{i} {file}\n" for i, file in enumerate(files, 1)))
    (folder / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n4 0\n5 1\n6 1\n")
    return folder


def test_tiny_imagenet_reads_its_validation_classes(tiny_imagenet: Path) -> None:
    train, test = load_source(str(tiny_imagenet))
    assert test is not None
    assert train.labels == ("n01", "n01", "n02", "n02") and test.labels == ("n02", "n01", "n02")
    assert [Path(test[i]).name for i in range(3)] == ["val_0.png", "val_1.png", "val_2.png"]


def test_cub_has_the_split_of_its_makers(cub: Path) -> None:
    train, test = load_source(str(cub))
    assert test is not None
    assert [Path(train[i]).stem for i in range(len(train))] == ["001.Gull_0", "001.Gull_2", "002.Wren_1", "002.Wren_2"]
    assert test.labels == ("001.Gull", "002.Wren") and train.classes == test.classes


def test_what_is_incomplete_is_named(cub: Path, tiny_imagenet: Path) -> None:
    (cub / "images" / "002.Wren" / "002.Wren_0.png").unlink()
    with pytest.raises(UserError, match=r"002.Wren_0.png is listed but missing"):
        load_source(str(cub))
    (cub / "train_test_split.txt").write_text("1 1\n2\n")
    with pytest.raises(UserError, match=r"train_test_split.txt: line 2 has 1 columns"):
        load_source(str(cub))
    (cub / "train_test_split.txt").write_text("1 1\n")
    with pytest.raises(UserError, match=r"image 2 of images.txt is not in it"):
        load_source(str(cub))
    (tiny_imagenet / "val" / "val_annotations.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"val_annotations.txt is not UTF-8"):
        load_source(str(tiny_imagenet))

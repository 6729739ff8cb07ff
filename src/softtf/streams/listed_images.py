"""Tiny-ImageNet and CUB-200 in their makers' folders, where text files list the classes or splits of the images."""

from pathlib import Path

from softtf.errors import UserError
from softtf.streams.examples import Examples
from softtf.streams.lines import lines

TINY_IMAGENET_VAL = "val_annotations.txt"
CUB_SPLIT = "train_test_split.txt"


def tiny_imagenet_val(folder: Path, name: str) -> Examples:
    """Return Tiny-ImageNet's `val`: images/*, with classes from the second column of val_annotations.txt.

    Raises:
        UserError: a listed image is missing, or a line has another form.
    """
    rows = _table(folder / TINY_IMAGENET_VAL, 2)
    return Examples([_there(folder / "images" / file) for file, *_ in rows], [label for _, label, *_ in rows], name)


def cub(folder: Path) -> tuple[Examples, Examples]:
    """Return CUB-200's training and test images: images.txt numbers them, train_test_split.txt gives their splits.

    Raises:
        UserError: a listed image is missing or has no split, or a line has another form.
    """
    training = {number: side == "1" for number, side in _table(folder / CUB_SPLIT, 2)}
    sides: dict[bool, list[str]] = {True: [], False: []}
    for number, file in _table(folder / "images.txt", 2):
        if number not in training:
            raise UserError(f"{folder / CUB_SPLIT}: image {number} of images.txt is not in it")
        sides[training[number]].append(file)
    classes = sorted({_class(file) for files in sides.values() for file in files})
    parts = []
    for side, split in ((True, "train"), (False, "test")):
        files = [_there(folder / "images" / file) for file in sides[side]]
        parts.append(Examples(files, [_class(file) for file in sides[side]], f"{folder.name} {split}", classes))
    return parts[0], parts[1]


def _class(file: str) -> str:
    return file.partition("/")[0]


def _table(file: Path, columns: int) -> list[list[str]]:
    """Return the columns of every line; each has at least `columns` of them."""
    rows = [line.split() for line in lines(file) if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < columns:
            raise UserError(f"{file}: line {number} has {len(row)} columns, not {columns}")
    return rows


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is listed but missing")
    return path

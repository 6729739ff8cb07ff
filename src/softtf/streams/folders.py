"""Data sets in local folders: parquet files, or images in one folder per class."""

from pathlib import Path
from typing import Any

from softtf.errors import UserError, unknown
from softtf.streams.archives import CUB_SPLIT, TINY_IMAGENET_VAL, cub, tiny_imagenet_val
from softtf.streams.columns import Column, check_filled, find_columns, read_labels, read_values
from softtf.streams.examples import Examples
from softtf.streams.holdout import hold_out

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"))
NAME_FILES = ("labels.txt", "classes.txt")


ALL = "all"  # the name of a split that is every file


def load_folder(
    folder: Path,
    split_train: str,
    split_test: str,
    image_column: str | None,
    label_column: str | None,
    task_column: str | None = None,
    prefix: str = "",
) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a folder with parquet files or image folders.

    `prefix` is what the names of a data set's files begin with, where a folder holds several.

    Raises:
        UserError: the folder holds neither, or what it holds is incomplete or cannot be read.
    """
    tests = (split_test, "val") if split_test == "test" else (split_test,)
    if prefix or any(folder.glob("*.parquet")):
        return _load_parquet(folder, prefix, split_train, tests, image_column, label_column, task_column)
    if task_column is not None:
        raise UserError(f"{folder} holds image folders, which have no column {task_column!r}; leave task_column out")
    if (folder / CUB_SPLIT).is_file():
        return cub(folder)
    if not (folder / split_train).is_dir():
        return hold_out(_image_folder(folder, folder.name))
    train = _image_folder(folder / split_train, f"{folder.name}/{split_train}")
    listed = [split for split in tests if (folder / split / TINY_IMAGENET_VAL).is_file()]  # its test/ has no labels
    found = listed or [split for split in tests if (folder / split).is_dir()]
    if not found:
        return hold_out(train)
    named = f"{folder.name}/{found[0]}"
    test = (tiny_imagenet_val if listed else _image_folder)(folder / found[0], named)
    if unseen := set(test.classes).difference(train.classes):
        raise UserError(f"{folder / found[0]}: class folder {min(map(str, unseen))!r} is not in {split_train}/")
    return train, test


def named_examples(
    dataset: Any,
    name: str,
    image_column: str | None,
    label_column: str | None,
    names: list[str] | None = None,
    task_column: str | None = None,
) -> Examples:
    """Return a `datasets.Dataset` as Examples whose integer labels become class names, in their order.

    Args:
        dataset: one split.
        name: what errors call it.
        image_column: the column with the inputs; None finds it.
        label_column: the column with the labels; None finds it.
        names: a name for each integer label; None takes those that a ClassLabel column carries, if any.
        task_column: the column that says which task a row belongs to, if any.

    Raises:
        UserError: columns not found, a row without an input, or labels that do not fit the names.
    """
    inputs, column = find_columns(dataset, name, image_column, label_column)
    check_filled(dataset, inputs, name)
    labels, order = read_labels(dataset, column, name, names)
    if task_column is not None and task_column not in dataset.column_names:
        raise unknown(f"column of {name}", task_column, dataset.column_names)
    tasks = None if task_column is None else read_values(dataset, task_column)
    return Examples(Column(dataset, inputs), labels, name, order, tasks)


def _load_parquet(
    folder: Path,
    prefix: str,
    split_train: str,
    tests: tuple[str, ...],
    image_column: str | None,
    label_column: str | None,
    task_column: str | None,
) -> tuple[Examples, Examples | None]:
    names = _names(folder, prefix)
    parts: list[Examples] = []
    for splits in ((split_train,), tests):
        patterns = (f"{prefix}*.parquet" if s == ALL else f"{prefix}{s}*.parquet" for s in splits)
        files = next((found for pattern in patterns if (found := sorted(folder.glob(pattern)))), [])
        if files:
            name = f"{prefix.rstrip('_') or folder.name} {'train' if not parts else 'test'}"
            data = read_parquet(files)
            parts.append(named_examples(data, name, image_column, label_column, names, task_column))
        elif not parts:
            raise UserError(f"{folder}: no parquet file's name starts with {prefix + split_train!r}")
    if len(parts) == 1 or split_train == ALL:
        return hold_out(parts[0])
    return parts[0], parts[1]


def _names(folder: Path, prefix: str) -> list[str] | None:
    files = [file for name in NAME_FILES if (file := folder / (prefix + name)).is_file()]
    if len(files) > 1:
        raise UserError(
            f"{folder}: has both {' and '.join(f.name for f in files)}; keep the one that names the classes"
        )
    return [line for line in files[0].read_text("utf-8").splitlines() if line.strip()] if files else None


def read_parquet(files: list[Path]) -> Any:
    """Return the rows of parquet files as one `datasets.Dataset`.

    Raises:
        UserError: one is damaged, or they do not fit together.
    """
    import datasets
    import pyarrow.parquet  # type: ignore[import-untyped]

    for file in files:
        try:
            pyarrow.parquet.read_metadata(file)
        except (pyarrow.ArrowException, OSError) as error:
            reason = "it is empty (0 bytes)" if file.stat().st_size == 0 else " ".join(str(error).split())
            raise UserError(f"{file}: not a readable parquet file: {reason}") from error
    try:
        return datasets.load_dataset("parquet", data_files=[str(file) for file in files], split="train")
    except Exception as error:  # files that cannot be read in full or do not fit together, in many wrappings
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"{files[0].parent}: cannot read {files[0].name} and its like: {reason}") from error


def _image_folder(folder: Path, name: str) -> Examples:
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise UserError(f"{folder}: no parquet files and no class folders with images in it")
    rows: list[Path] = []
    labels: list[str] = []
    for path in classes:
        images = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not images:
            raise UserError(f"{path}: this class folder holds no images ({', '.join(sorted(SUFFIXES))})")
        rows += images
        labels += [path.name] * len(images)
    return Examples(rows, labels, name)

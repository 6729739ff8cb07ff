"""Data sets in local folders: parquet files, or images in one folder for each class."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from softtf.errors import UserError, one_line, unknown
from softtf.streams.columns import Column, check_filled, find_columns, read_labels, read_values
from softtf.streams.examples import Examples
from softtf.streams.image_folders import load_image_folder
from softtf.streams.lines import lines
from softtf.streams.parquet_bounds import check_size
from softtf.streams.splits import Say, begins_as, listed, quiet, say_splits
from softtf.streams.walk import Skipped, entries, say_skipped

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
    say: Say = quiet,
) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a folder with parquet files or image folders.

    Without a test split the test examples are None.

    Args:
        folder: the folder; its name, like every path here, is not a pattern.
        split_train: the split to learn from, by its usual names in any case.
        split_test: the split to test on.
        image_column: the column of the inputs, in parquet files.
        label_column: the column of the labels, in parquet files.
        task_column: the column of the tasks, in parquet files.
        prefix: the start of the file names of a data set, in a folder with several.
        say: is called with notes about the part of each split and what is skipped.

    Raises:
        UserError: the folder holds neither, or its content is incomplete or cannot be read.
    """
    columns = (image_column, label_column, task_column)
    if files := parquet_files(folder, prefix, skipped := Skipped()):
        say_skipped(say, folder.name, skipped)
        return _load_parquet(folder, files, prefix, split_train, split_test, columns, say)
    if task_column is not None:
        raise UserError(f"{folder} holds image folders, which have no column {task_column!r}; leave task_column out")
    return load_image_folder(folder, split_train, split_test, say)


def parquet_files(folder: Path, prefix: str, skipped: Skipped) -> list[Path]:
    """Return the parquet files of a folder whose names begin with `prefix`, sorted; hidden files are counted."""
    found = [path for path in entries(folder, skipped) if path.suffix.lower() == ".parquet" and path.is_file()]
    return [path for path in found if path.name.startswith(prefix)]


def named_examples(
    dataset: Any,
    name: str,
    image_column: str | None = None,
    label_column: str | None = None,
    names: list[str] | None = None,
    task_column: str | None = None,
) -> Examples:
    """Return a `datasets.Dataset` as Examples whose integer labels become class names, in their order.

    Args:
        dataset: one split.
        name: what errors call it.
        image_column: the column of the inputs; None finds it.
        label_column: the column of the labels; None finds it.
        names: a name for each integer label; None takes those of a ClassLabel column, if any.
        task_column: the column that names the task of each row, if any.

    Raises:
        UserError: a column is missing, a row has no input, or the labels do not fit the names.
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
    files: list[Path],
    prefix: str,
    split_train: str,
    split_test: str,
    columns: tuple[str | None, str | None, str | None],
    say: Say,
) -> tuple[Examples, Examples | None]:
    names = _names(folder, prefix)
    data_set = prefix.rstrip("_") or folder.name
    by_name = {path.name.removeprefix(prefix): path for path in files}

    def examples(chosen: Sequence[str], split: str) -> Examples:
        data = read_parquet([by_name[name] for name in chosen])
        return named_examples(data, f"{data_set} {split}", columns[0], columns[1], names, columns[2])

    chosen = list(by_name) if split_train == ALL else begins_as(split_train, list(by_name))
    if not chosen:
        raise _no_files(folder, prefix + split_train, files)
    train = examples(chosen, "train")
    learned = (_shards(chosen, prefix), train)
    others = [name for name in by_name if name not in chosen]
    tests = begins_as(split_test, others)
    if not tests:
        if split_train != ALL and split_test.lower() != "test":
            raise _no_files(folder, prefix + split_test, [by_name[name] for name in others])
        say_splits(say, data_set, learned, None, [prefix + name for name in others])
        return train, None
    test = examples(tests, "test")
    unread = [prefix + name for name in others if name not in tests]
    say_splits(say, data_set, learned, (_shards(tests, prefix), test), unread)
    return train, test


def _no_files(folder: Path, start: str, files: Sequence[Path]) -> UserError:
    return UserError(
        f"{folder}: no parquet file is named {start!r} or {start!r} with a number, and no single one starts with it;"
        f" there are {listed([file.name for file in files]) or 'no others'}"
    )


def _shards(names: Sequence[str], prefix: str) -> str:
    return prefix + names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _names(folder: Path, prefix: str) -> list[str] | None:
    files = [file for name in NAME_FILES if (file := folder / (prefix + name)).is_file()]
    if len(files) > 1:
        raise UserError(
            f"{folder}: has both {' and '.join(f.name for f in files)}; keep the one that names the classes"
        )
    return [line for line in "".join(lines(files[0])).splitlines() if line.strip()] if files else None


def read_parquet(files: list[Path]) -> Any:
    """Return the rows of parquet files as one `datasets.Dataset`.

    Raises:
        UserError: a file is damaged or its rows would take too much memory, or the files do not fit together.
    """
    import pyarrow.parquet  # type: ignore[import-untyped]

    for file in files:
        try:
            check_size(file, str(file))
        except (pyarrow.ArrowException, OSError) as error:
            empty = file.is_file() and file.stat().st_size == 0
            reason = "it is empty (0 bytes)" if empty else one_line(error)
            raise UserError(f"{file} is not a readable parquet file: {reason}") from error
    try:
        with silent_datasets():
            return _rows([file.absolute() for file in files])
    except Exception as error:  # many kinds, for files that are cut off or do not fit together
        reason = one_line(error.__cause__ or error, 300)
        raise UserError(f"{files[0].parent}: cannot read {files[0].name} and similar files: {reason}") from error


@contextmanager
def silent_datasets() -> Iterator[None]:
    """Keep what `datasets` logs off the terminal: it quotes names as they are, and its errors are raised as well."""
    import datasets

    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(before)


def _rows(files: list[Path]) -> Any:
    """Return the rows of files whose names are not patterns.

    `datasets` would take a plain list of names for patterns. It caches the rows on disk, under the files' sizes and
    times. It cuts paths at `::`, so such files are read into memory.
    """
    import datasets
    from datasets.data_files import DataFilesList

    if any("::" in str(file) for file in files):
        return datasets.concatenate_datasets([rows_in(file.read_bytes()) for file in files])
    states = [(str(state.st_mtime_ns), str(state.st_size)) for state in (file.stat() for file in files)]
    named = DataFilesList([str(file) for file in files], states)
    return datasets.load_dataset("parquet", data_files={"train": named}, split="train")  # nosec B615 # files here


def rows_in(content: bytes) -> Any:
    """Return the rows of a parquet file's content as a `datasets.Dataset` in memory."""
    import datasets
    import pyarrow.parquet

    return datasets.Dataset(pyarrow.parquet.ParquetFile(BytesIO(content)).read())

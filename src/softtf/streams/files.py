"""Users' own texts and images in one file of rows: CSV, TSV, JSON lines or parquet."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from softtf.errors import UserError, one_line, unknown
from softtf.files.plain_json import parse_json
from softtf.streams.columns import INPUT_NAMES, LABEL_NAMES, Column, input_name, read_values
from softtf.streams.examples import Examples
from softtf.streams.folders import named_examples, read_parquet
from softtf.streams.lines import LONGEST, lines
from softtf.streams.splits import Say, listed, named_as, quiet, say_splits
from softtf.streams.walk import ROWS, is_image_name

INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")  # of at most 64 bits
ENDINGS = (*ROWS, ".parquet")
SPLIT = "split"  # the column that names the split of each row, in any case
MOST_COLUMNS = 1_000  # JSON lines can name new columns in every row, and each column costs time
IMAGE_NAMES = ("image", "img", "images")  # columns of texts with these names hold the paths of images


def load_file(
    file: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    task_column: str | None = None,
    say: Say = quiet,
    split_train: str = "train",
    split_test: str = "test",
) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a file of rows, by its column `split`; without it all, and None.

    Paths of images, in a column `image` or in one that holds only paths of images, are relative to the file's folder.
    In CSV, a column of labels or tasks that holds only integers is read as integers, and empty fields are missing.

    Args:
        file: the file; its ending, one of ENDINGS, tells its format. The first row of CSV and TSV names the columns.
        text_column: the column of the inputs; None takes `text` or another usual name; `title+content` joins texts.
        label_column: the column of the labels; None takes `label` or another usual name.
        task_column: the column that names the task of each row, if any.
        say: is called with notes about the rows of each split.
        split_train: the value in the column `split` of rows to learn from, by its usual names in any case.
        split_test: the value of rows to test on.

    Raises:
        UserError: the file cannot be read, is empty, or lacks a column or split; or a row has too few fields, no label
            or no task.
    """
    texts = (text_column, *text_column.split("+")) if text_column else INPUT_NAMES
    labels = (label_column,) if label_column else LABEL_NAMES
    data = _read(file, texts, (*labels, *((task_column,) if task_column else ())), keep=SPLIT)
    for named, usual in ((text_column, INPUT_NAMES), (label_column, LABEL_NAMES)):
        if named is None and not set(usual) & set(data.column_names):
            raise unknown(f"column of {file.name}", usual[0] if usual is LABEL_NAMES else "text", data.column_names)
    examples = named_examples(data, file.name, text_column, label_column, task_column=task_column)
    column = input_name(data, file.name, text_column)
    if (paths := _image_paths(file, data, column)) is not None:
        if None in paths:
            raise UserError(
                f"{file}: row {paths.index(None)} has nothing in column {column!r}; fill it or leave the row out"
            )
        examples = Examples(paths, examples.labels, file.name, examples.class_order, examples.tasks)
    split = _split_column(data.column_names)
    if split is not None and split not in (text_column, label_column, task_column):
        return _by_split(examples, split, read_values(data, split), split_train, split_test, say)
    if (split_train, split_test) != ("train", "test"):
        raise UserError(f"{file} has no splits, and a fifth is held out; leave split_train and split_test out")
    return examples, None


def _split_column(names: Iterable[str]) -> str | None:
    """Return the column that names splits: `split` itself, else the first that is so named in another case."""
    found = [name for name in names if name.lower() == SPLIT]
    return SPLIT if SPLIT in found else next(iter(found), None)


def _by_split(
    examples: Examples, column: str, values: list[Any], split_train: str, split_test: str, say: Say
) -> tuple[Examples, Examples | None]:
    """Return the rows of the training and the test split by a column; without test rows the test part is None.

    If the column names no split to learn from, all rows are training rows. A name in several cases is one split, by the
    spelling of its first row.
    """
    spelled: dict[str, str] = {}
    given = ("" if value is None else str(value).strip() for value in values)
    splits = [spelled.setdefault(name.lower(), name) for name in given]
    counts = Counter(splits)
    learned = next(iter(named_as(split_train, counts)), None)
    if learned is None:
        if (split_train, split_test) != ("train", "test"):
            raise unknown(f"split in column {column!r} of {examples.name}", split_train, list(counts))
        say(
            f"{examples.name}: column {column!r} names no split {split_train!r} ({listed(list(counts))}) and is not"
            " read"
        )
        return examples, None
    tested = next(iter(named_as(split_test, [name for name in counts if name != learned])), None)
    if tested is None and split_test != "test":
        raise unknown(f"split in column {column!r} of {examples.name}", split_test, list(counts))
    train = examples.select([i for i, split in enumerate(splits) if split == learned])
    test = None if tested is None else examples.select([i for i, split in enumerate(splits) if split == tested])
    unread = [f"{count:,} rows of {name!r}" for name, count in counts.items() if name not in (learned, tested)]
    say_splits(say, examples.name, (learned, train), None if test is None else (str(tested), test), unread)
    return train, test


def _image_paths(file: Path, data: Any, column: str) -> list[Path | None] | None:
    """Return the paths of images in a column, relative to the file's folder; None if it does not hold such paths.

    An empty row has None.
    """
    if column not in data.column_names or getattr(data.features[column], "dtype", None) not in (
        "string",
        "large_string",
    ):
        return None
    usual = column in IMAGE_NAMES
    if not usual and (first := data[0][column]) and not is_image_name(first):
        return None  # as of most columns of texts, which are not read here
    values = read_values(data, column)
    given = [value for value in values if value]
    if not usual and not (given and all(map(is_image_name, given))):
        return None
    folder = Path(os.path.abspath(file.parent))
    return [folder / value if value else None for value in values]


def count_values(file: Path, columns: Sequence[str]) -> dict[str, int]:
    """Return how many different values each of `columns` has, in their order; columns that a file lacks are left out.

    Raises:
        UserError: the file cannot be read, or is empty.
    """
    data = _read(file, (), columns)
    return {n: len({str(v) for v in data[n] if v is not None}) for n in columns if n in data.column_names}


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty, without line ends.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or has no such line.
    """
    found = not_empty(lines(file))
    if not found:
        raise UserError(f"{file} is empty; it needs one text per line")
    return found


def not_empty(found: Iterable[str]) -> list[str]:
    """Return the lines that are not empty, without line ends."""
    return [line.removesuffix("\n") for line in found if line.strip()]


def read_texts(file: Path, column: str | None = None) -> list[str]:
    """Return the texts of a file: a column of a file of rows, or the lines of any other file.

    Args:
        file: the file; a file of rows has one of ENDINGS.
        column: the column of the texts; None takes `text` or another usual name; `title+content` joins texts.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    if file.suffix.lower() not in ENDINGS:
        return read_lines(file)
    data, column = _inputs(file, column, "text")
    return list(Column(data, column))


def read_images(file: Path, column: str | None = None) -> list[tuple[str, Any]]:
    """Return the images of a file of rows, each with a name for messages; an empty row has None.

    Args:
        file: a file of rows, with one of ENDINGS.
        column: the column of images, or of paths relative to the file's folder; None takes `image` or another usual
            name.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    data, column = _inputs(file, column, "image")
    if (paths := _image_paths(file, data, column)) is not None:
        return [(str(path) if path else f"{file}, row {i}", path) for i, path in enumerate(paths)]
    return [(f"{file}, row {i}", image) for i, image in enumerate(Column(data, column))]


def _inputs(file: Path, column: str | None, usual: str) -> tuple[Any, str]:
    """Return a file's rows and the name of its input column; None finds it by its usual names."""
    data = _read(file, (column, *column.split("+")) if column else INPUT_NAMES, ())
    if column is None and not set(INPUT_NAMES) & set(data.column_names):
        raise unknown(f"column of {file.name}", usual, data.column_names)
    return data, input_name(data, file.name, column)


def _read(file: Path, texts: Sequence[str], labels: Sequence[str], keep: str = "") -> Any:
    """Return a file's rows as a data set; other columns are present but empty; `keep`, in any case, is a text."""
    if file.suffix.lower() == ".parquet":
        return read_parquet([file])
    import datasets
    import pyarrow  # type: ignore[import-untyped]

    names, rows = _json_lines(file) if file.suffix.lower() == ".jsonl" else _csv(file)
    if not rows:
        raise UserError(f"{file} holds no rows")
    columns: dict[str, Any] = {}
    for name in names:
        if name in (*texts, *labels) or name.lower() == keep:
            values = [row.get(name) for row in rows]
            columns[name] = typed(values) if name in labels else values
            if name not in (*texts, *labels):
                columns[name] = [None if value is None else str(value) for value in values]
        else:
            columns[name] = pyarrow.nulls(len(rows))
    try:
        return datasets.Dataset.from_dict(columns)
    except UnicodeEncodeError:
        raise UserError(f"{file}: a text has a lone surrogate, not a character; leave it out") from None
    except (ValueError, TypeError, OverflowError) as error:  # of pyarrow: values of several types in one column
        raise UserError(
            f"{file}: one of the columns {', '.join(c for c in columns if c in (*texts, *labels))} holds values of"
            f" several types: {one_line(error)}"
        ) from None


def _csv(file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    csv.field_size_limit(LONGEST)  # of characters; the module's own limit is 131,072
    reader = csv.reader(lines(file), delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
    rows = list(_numbered(file, reader))
    if not rows:
        raise UserError(f"{file} is empty; its first row must name the columns, such as text,label")
    (_, names), *rest = rows
    _check_columns(len(names), file)
    for line, row in rest:
        if len(row) != len(names):
            raise UserError(f"{file}, line {line}: {len(row)} fields, not {len(names)}; quote a text that holds commas")
    if len(set(names)) < len(names):
        raise UserError(f"{file}: two columns have the same name; its first row must name them, such as text,label")
    return names, [dict(zip(names, row, strict=True)) for _, row in rest]


def _numbered(file: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each after the number of its last line."""
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not valid CSV: {error}") from None


def _json_lines(file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(lines(file), 1):
        if not line.strip():
            continue
        row = parse_json(line, f"{file}, line {number}", finite=False)
        if not isinstance(row, dict):
            raise UserError(f'{file}, line {number}: not an object such as {{"text": "...", "label": "..."}}')
        rows.append(row)
        names.update(dict.fromkeys(row))
        _check_columns(len(names), file)
    return list(names), rows


def _check_columns(count: int, file: Path) -> None:
    if count > MOST_COLUMNS:
        raise UserError(f"{file} has more than {MOST_COLUMNS:,} columns; keep those of the inputs, labels and tasks")


def typed(values: Sequence[Any]) -> list[Any]:
    """Return labels, as integers if all are integers, with None for empty ones."""
    given = [None if value == "" else value for value in values]
    if all(value is None or (isinstance(value, str) and INTEGER.fullmatch(value)) for value in given):
        return [None if value is None else int(value) for value in given]
    return given

"""What `softtf predict` is asked to label: files, folders, files of rows, texts."""

import os
import sys
from pathlib import Path
from typing import Any

from softtf.cli.options import Predict
from softtf.errors import UserError
from softtf.screen import say
from softtf.streams.files import ENDINGS, not_empty, read_images, read_texts
from softtf.streams.folders import parquet_files
from softtf.streams.lines import within_bounds
from softtf.streams.walk import Skipped, entries, images_below, say_skipped

Row = tuple[str, Any]
"""What to call an input, and the input."""


def rows_of(options: Predict, reads_text: bool) -> tuple[list[Row], dict[int, str]]:
    """Return what is to be labelled, and which rows stand for inputs that cannot be read, and why.

    Raises:
        UserError: so it is of the only input, or of any if options are strict.
    """
    rows: list[Row] = []
    unread: dict[int, str] = {}
    for name in options.inputs:
        try:
            rows += texts_of(name, options.input_column) if reads_text else images_of(Path(name), options.input_column)
        except UserError as error:
            if options.strict or len(options.inputs) == 1:
                raise
            unread[len(rows)] = str(error)
            rows.append((name, None))
    return rows, unread


def texts_of(name: str, column: str | None) -> list[Row]:
    """Return the texts of a file or a folder of parquet files, the lines of stdin for `-`, or the text itself."""
    if name == "-":
        texts = not_empty(within_bounds(sys.stdin.buffer, "standard input"))
    elif os.path.isfile(name):
        texts = read_texts(Path(name), column)
    elif os.path.isdir(name):
        if not (files := _parquet(Path(name))):
            raise UserError(
                f"{name} is a folder without parquet files; give texts, files of texts, or - for the lines of stdin"
            )
        texts = [text for file in files for text in read_texts(file, column)]
    elif os.path.exists(name):
        raise UserError(f"{name} is a pipe or a device, not a file; give a file, or - for the lines of stdin")
    elif name.lower().endswith((".txt", *ENDINGS)) and " " not in name:
        raise UserError(f"there is no file {name}")
    else:
        texts = [name]
    return [(text, text) for text in texts]


def images_of(path: Path, column: str | None) -> list[Row]:
    """Return the image of a file, those of a file of rows, or those of a folder.

    A folder's are those of its parquet files, as in training, else those anywhere below it, sorted.
    """
    if path.is_dir():
        if tables := _parquet(path):
            return [row for file in tables for row in read_images(file, column)]
        files = images_below(path, skipped := Skipped())
        say_skipped(note, str(path), skipped)
        if not files:
            raise UserError(f"there is no image in folder {path}")
        return [(str(file), str(file)) for file in files]
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to {os.readlink(path)}, which is not there")
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    return read_images(path, column) if path.suffix.lower() in ENDINGS else [(str(path), str(path))]


def _parquet(folder: Path) -> list[Path]:
    """Return a folder's parquet files; if there are any, a note tells how many other entries are skipped."""
    files = parquet_files(folder, "", Skipped())
    if files and (others := len(entries(folder, Skipped())) - len(files)):
        note(f"{folder}: answers its parquet files, as training reads them; {others} other entries are skipped")
    return files


def note(line: str) -> None:
    """Print a line that is no answer."""
    say(f"softtf: {line}", error=True)

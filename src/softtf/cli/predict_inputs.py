"""What `softtf predict` is asked to label: files, folders, archives, files of rows here or at a URL, texts."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from softtf.cli.options import Predict
from softtf.errors import UserError
from softtf.saying import note
from softtf.streams.archive import ending_of, images_in_archive
from softtf.streams.columns import Column, input_name
from softtf.streams.files import ENDINGS, not_empty, read_images
from softtf.streams.forms import images_in, texts_in
from softtf.streams.lines import within_bounds
from softtf.streams.remote import is_url, read_url
from softtf.streams.shards import shards
from softtf.streams.walk import no_pattern

Row = tuple[str, Any]
"""What to call an input, and the input; or, of an archive, a call that reads it."""


def rows_of(options: Predict, reads_text: bool) -> tuple[list[Row], dict[int, str]]:
    """Return what is to be labelled, and which rows stand for inputs that cannot be read, and why.

    Raises:
        UserError: so it is of the only input, or of any if options are strict.
    """
    rows: list[Row] = []
    unread: dict[int, str] = {}
    for name in options.inputs:
        try:
            if is_url(name) and (not reads_text or name.lower().endswith(".parquet")):
                rows += rows_at(name, options.input_column)
            else:
                read = texts_of if reads_text else images_of
                rows += read(name, options.input_column)
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
    elif os.path.exists(name) or (name.lower().endswith((".txt", *ENDINGS)) and " " not in name):
        texts = texts_in(Path(name), column, note)
    else:
        texts = [name]
    return [(text, text) for text in texts]


def rows_at(url: str, column: str | None) -> list[Row]:
    """Return the inputs in a parquet file at a URL."""
    table = read_url(url)
    return [(f"{url}, row {i}", value) for i, value in enumerate(Column(table, input_name(table, url, column)))]


def images_of(name: str, column: str | None) -> list[Row]:
    """Return the image of a file, those of a file of rows, or those in a folder or an archive."""
    path = Path(name)
    if files := shards(path):
        return [row for file in files for row in images_of(str(file), column)]
    if path.is_dir():
        return images_in(path, column, note)
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to {os.readlink(path)}, which is not there")
    if not path.exists():
        remedy = no_pattern(name, "give a folder, or a pattern without quotes")
        raise UserError(f"there is no file or folder {path}{remedy}")
    if column is None and path.is_file() and ending_of(path):
        images = images_in_archive(path)
        return [(f"{path}/{member.name}", partial(images.__getitem__, i)) for i, member in enumerate(images.chosen)]
    return read_images(path, column) if path.suffix.lower() in ENDINGS else [(str(path), str(path))]

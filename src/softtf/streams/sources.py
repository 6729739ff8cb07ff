"""Data sets by name, from a local folder or file, or from the Hugging Face Hub."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softtf.config.arguments import checked
from softtf.errors import UserError, one_line, unknown
from softtf.registry import Registry
from softtf.streams.archive import ARCHIVES, ending_of
from softtf.streams.docstrings import docstrings
from softtf.streams.examples import Examples
from softtf.streams.files import ENDINGS, load_file
from softtf.streams.folders import load_folder, named_examples, silent_datasets
from softtf.streams.holdout import hold_out, with_test
from softtf.streams.load_archive import load_archive, load_shards
from softtf.streams.registry import STREAMS
from softtf.streams.remote import is_url, read_url
from softtf.streams.shards import shards
from softtf.streams.splits import Say, named_as, quiet, say_splits
from softtf.streams.walk import no_pattern

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
Pair = tuple[Examples, Examples | None]
Loading = Callable[[], Pair]
SOURCES: Registry[Loading] = Registry("data set", taken=STREAMS.__contains__)


def source(name: str) -> Callable[[Loading], Loading]:
    """Register the function below as a source: it returns training examples, and test examples or None.

    Raises:
        UserError: there is a data set of this name.
    """

    def register(load: Loading) -> Loading:
        SOURCES.add(name, load, load)
        return load

    return register


@checked
def local_path(source: str) -> Path:
    """Return a source as a path; if there is no such path, a leading ~ is the home folder."""
    path = Path(source)
    if path.exists() or not source.startswith("~"):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # nobody has this name
        return path


@checked
def located(source: str) -> str:
    """Return a source that means the same data in any working directory: the full path of a folder or file."""
    path = local_path(source)
    return os.path.abspath(path) if source not in (*SOURCES, "") and (path.exists() or shards(path)) else source


@checked
def load_source(
    source: str | Path,
    split_train: str = "train",
    split_test: str = "test",
    image_column: str | None = None,
    label_column: str | None = None,
    task_column: str | None = None,
    say: Say = quiet,
) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a data set.

    Without a test split, a fixed fifth of every class is held out (`hold_out`). Known class names become the labels;
    `classes` keeps the order of their integers.

    A source is one of:

    - "digits" or "docstrings", which are built in, or another of SOURCES;
    - a folder of parquet files, whose names start with that of a split; labels.txt or classes.txt may name the integer
      labels, one per line;
    - a folder of images: train/<class>/* with test/<class>/* or val/<class>/*, or <class>/* alone, or the folders of
      Tiny-ImageNet and CUB-200; hidden and other files are skipped, links are followed;
    - a file of rows (.csv, .tsv, .jsonl, .parquet) with columns such as `text` and `label`, or `image` with paths
      relative to the file's folder, and perhaps `split`, which names the split of each row;
    - a .zip, .tar or .tar.gz of images in such folders, or of a webdataset (0001.jpg beside its label in 0001.cls); or
      several of them, as shard-{000..009}.tar;
    - the URL of a .parquet file, as fsspec reads it, such as s3://bucket/birds.parquet;
    - a name in STREAMS;
    - "owner/name" on the Hub.

    Args:
        source: the data set.
        split_train: the split to learn from, by its usual names in any case, such as Train or training; "all" takes
            every parquet file of a folder and holds a fifth out.
        split_test: the split to test on; "test" also finds "testing", else "val", "validation", "dev" or "eval".
        image_column: the column of the inputs; None finds it. `title+content` joins the texts of two columns.
        label_column: the column of the labels; None finds it.
        task_column: the column that names the task of each row (`split_by_task`), if any.
        say: is called with a line for each note: the part of each split, what is held out, what is skipped.

    Raises:
        UserError: there is no such source, the Hub cannot be reached, or the data are incomplete or broken.
    """
    pair = read_source(str(source), split_train, split_test, image_column, label_column, task_column, say)
    return with_test(pair, say)


def read_source(
    source: str,
    split_train: str = "train",
    split_test: str = "test",
    image_column: str | None = None,
    label_column: str | None = None,
    task_column: str | None = None,
    say: Say = quiet,
) -> Pair:
    """Return the examples of a data set's training and test split; arguments and errors are as for `load_source`.

    Without a test split nothing is held out: the training part is all there is, and the test part None.
    """
    if source in SOURCES and task_column is not None:
        raise UserError(f"{source} has no column {task_column!r}; leave task_column out")
    if is_url(source):
        if (split_train, split_test) != ("train", "test"):
            raise UserError(f"{source} is one file, without splits; leave split_train and split_test out")
        return named_examples(read_url(source), source, image_column, label_column, task_column=task_column), None
    folder = local_path(source)
    if source in SOURCES and (split_train, split_test) != ("train", "test"):
        raise UserError(f"{source} has no splits, and a fifth is held out; leave split_train and split_test out")
    if source in SOURCES:
        return SOURCES[source]()
    if source and folder.is_dir():
        return load_folder(folder.resolve(), split_train, split_test, image_column, label_column, task_column, say=say)
    without_columns = {image_column, label_column, task_column} == {None}
    if without_columns and (files := shards(folder)):
        return load_shards(files, folder.name, split_train, split_test)
    if folder.is_file():
        if ending_of(folder) and without_columns:
            return load_archive(folder, split_train, split_test, say)
        if folder.suffix.lower() not in ENDINGS:
            known = ", ".join((*ENDINGS, *ARCHIVES))
            raise UserError(
                f"{source!r} is a file; give {known} (an archive has no columns), or the folder of the data"
            )
        return load_file(folder, image_column, label_column, task_column, say, split_train, split_test)
    if source and folder.exists():
        raise UserError(f"{source!r} is a pipe or a device, not a file; give a file or a folder with the data")
    check_source(source)
    return _load_hub(source, split_train, split_test, image_column, label_column, task_column, say)


def check_source(source: str) -> None:
    """Refuse a source that is neither at hand nor a name of data.

    Raises:
        UserError: the message names what is near.
    """
    if source in STREAMS or source in SOURCES or is_url(source) or HUB_NAME.fullmatch(source):
        return
    if source and (local_path(source).exists() or shards(local_path(source))):
        return
    if "/" in source or "\\" in source or source in ("", "~"):
        raise UserError(f"there is no folder {source!r}{no_pattern(source)}")
    raise unknown("data set or folder", source, {*STREAMS, *SOURCES}, imports=True)


@source("digits")
def digits() -> Pair:
    """Return scikit-learn's handwritten digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)
    return hold_out(Examples(images, found.target, "digits"))


source("docstrings")(docstrings)


def _load_hub(
    source: str,
    split_train: str,
    split_test: str,
    image_column: str | None,
    label_column: str | None,
    task_column: str | None,
    say: Say,
) -> tuple[Examples, Examples | None]:
    hub, test_split = source, split_test
    names: list[str] | None = None
    if source in STREAMS:
        info = STREAMS[source]
        hub, image_column = info.hub, image_column or info.image_column
        label_column = label_column or info.label_column
        names = None if info.class_names is None else list(info.class_names)
        split_train = info.split_train if split_train == "train" else split_train
        test_split = (info.split_test or "") if split_test == "test" else split_test
    splits = _download(hub, source)
    found = list(splits) if len(splits) == 1 else named_as(split_train, splits)  # an only split may have any name
    if not found:
        raise unknown(f"split of {source}", split_train, splits)

    def examples(split: str) -> Examples:
        name = f"{source} {split}"
        return named_examples(splits[split], name, image_column, label_column, names, task_column)

    train = examples(found[0])
    if len(splits) == 1:
        return train, None
    others = [split for split in splits if split != found[0]]
    tests = named_as(test_split, others)
    if not tests:
        raise unknown(f"test split of {source}", test_split, splits)
    test = examples(tests[0])
    say_splits(say, source, (found[0], train), (tests[0], test), [split for split in others if split != tests[0]])
    return train, test


def _download(hub: str, source: str) -> dict[str, Any]:
    """Return all splits of a data set on the Hub, by name."""
    import datasets

    if Path(hub).exists():  # `datasets` would read it instead of the Hub's
        raise UserError(f"{hub} is a folder here, not the Hub's {source}; give it as the source, or work elsewhere")
    try:
        # The newest revision is wanted; data.json tells a resumed run whether the rows are the same.
        with silent_datasets():
            return dict(datasets.load_dataset(hub, trust_remote_code=False))  # nosec B615
    except Exception as error:  # the Hub's client has many kinds
        problem = "could not be reached" if isinstance(error, ConnectionError) else f"gave no data set {hub!r}"
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        raise UserError(
            f"{source!r} is not a folder here, and the Hub {problem} ({reason}); "
            "give the path of a local folder with the data instead"
        ) from error

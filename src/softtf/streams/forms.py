"""The forms of data: what counts as one input, what counts as several, and where the labels are.

One input is a string (a text, or the path of an image), a `Path`, the bytes of an image file, a `{"bytes", "path"}`
dict as in undecoded image columns, a PIL image, or an array or tensor of one image. Several inputs are a list, a tuple,
a Series, a table or a column of one, another sequence of these, an array of strings or objects, or an array or tensor
whose first axis counts images.

An array or tensor with two axes is one image [h, w], and with four axes it is several. With three axes:

- [h, w, c] with 1, 3 or 4 in the last axis is one image;
- a tensor [c, h, w] with 1, 3 or 4 in the first axis is one image, in torch's layout;
- anything else is grey images [n, h, w]. A numpy array with 3 or 4 in the first axis could be either and is refused.

Labels decide if there are any: with as many labels as the first axis is long, there are several inputs.
"""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from softtf.config.arguments import checked
from softtf.errors import UserError
from softtf.streams.archive import ending_of, images_in_archive
from softtf.streams.columns import Column, is_hub_dataset, named, read_labels, usual_input, usual_label
from softtf.streams.decode import CHANNELS
from softtf.streams.examples import Examples
from softtf.streams.files import ENDINGS, read_images, read_texts
from softtf.streams.folders import named_examples, parquet_files
from softtf.streams.gathering import gathered
from softtf.streams.remote import is_url, read_url
from softtf.streams.shards import shards
from softtf.streams.sources import read_source
from softtf.streams.splits import Say, quiet
from softtf.streams.tables import filled, is_column, is_polars, is_table, plain, table_inputs, table_labels
from softtf.streams.walk import Skipped, entries, images_below, say_skipped

NEAREST = "give a list, an array, a column, or a map-style data set (the .dataset of a DataLoader)"


def examples_from(data: Any, name: str = "data", split: Literal["train", "test"] = "train") -> Examples:
    """Return labelled `data` as Examples.

    Args:
        data: Examples (returned as they are); a path of a folder or a file of data, as `load_source` reads it, of which
            nothing is held out; a tuple `(inputs, labels)`; a `datasets.Dataset`, an Arrow table or a DataFrame, whose
            columns are found by type and name (the integers of a ClassLabel become names); or a list, a torch Dataset
            or a stream of `(input, label)` pairs, which is read once for its labels (`gathered` has the rest). Inputs
            and labels of a tuple may be tables of one column too.
        name: what errors call the data.
        split: which of the splits is wanted, where the data have several.

    Raises:
        UserError: the data have another form, or `Examples` refuses them.
    """
    if isinstance(data, Examples):
        return data
    if isinstance(data, str | os.PathLike):
        train, test = read_source(os.fspath(data))
        return test if split == "test" and test is not None else train
    data = gathered(data, name, split)
    if is_table(data):
        if is_hub_dataset(data):
            return named_examples(data, name)
        known = list(data.columns)
        return Examples(filled(data, usual_input(known, name), name), list(data[usual_label(known, name)]), name)
    if isinstance(data, tuple) and len(data) == 2:
        labels = _labels(data[1], name)
        return Examples(rows_of(gathered(data[0], name, split), name, len(labels)), labels, name)
    no_list = isinstance(data, str | Mapping) or getattr(data, "ndim", 1) == 0
    if no_list or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise UserError(
            f"{name}: cannot read examples from {type(data).__name__}; give (inputs, labels), a list of (input, label)"
            " pairs, a DataFrame, an Arrow table, a map-style data set, or the path of a folder or file of data"
        )
    return Examples(_Firsts(data), [_pair(data, i, name)[1] for i in range(len(data))], name)


@checked
def unlabelled(data: Any, folders: bool = False) -> Examples:
    """Return inputs as Examples without labels: data for `examples_from`, or inputs alone.

    Args:
        data: the inputs.
        folders: whether the path of a folder (`images_in`), an archive or a file of rows, or the URL of a parquet file,
            stands for the images in it.

    Raises:
        UserError: there are no inputs, or they have another form.
    """
    if isinstance(data, Examples):
        return data
    name = "inputs"
    data = gathered(data, name, "test")
    if folders and isinstance(data, str | os.PathLike):
        rows: Sequence[Any] = _images_at(os.fspath(data))
    elif _with_labels(data):
        rows = rows_of(data[0], name, len(data[1]))
    else:
        rows = rows_of(data, name)
        if len(rows) and not isinstance(rows, Column) and isinstance(rows[0], tuple | list) and len(rows[0]) == 2:
            rows = _Firsts(rows)
    if not len(rows):
        raise UserError("there are no inputs to predict")
    return Examples(rows, [0] * len(rows), name)  # the label is never read


def _images_at(place: str) -> Sequence[Any]:
    """Return the images at a path or a URL; of a file that is no archive and no file of rows, its path alone."""
    path, is_file = Path(place), os.path.isfile(place)
    if os.path.isdir(place):
        return [image for _, image in images_in(path)]
    if is_url(place):
        return rows_of(read_url(place), place)
    if files := shards(path):
        return Examples.concatenate([unlabelled(file, folders=True) for file in files])
    if is_file and ending_of(path):
        return images_in_archive(path)
    return [image for _, image in read_images(path)] if is_file and path.suffix.lower() in ENDINGS else [place]


def texts_in(path: Path, column: str | None = None, say: Say = quiet) -> list[str]:
    """Return the texts in a file, or in the parquet files of a folder.

    Args:
        path: the file or folder.
        column: of files of rows, the column of the texts; None finds it by its name.
        say: is called with a line about what is skipped.

    Raises:
        UserError: it is not there or cannot be read, or the folder has no parquet files.
    """
    if path.is_file():
        return read_texts(path, column)
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if not path.is_dir():
        raise UserError(f"{path} is a pipe or a device, not a file; give a file")
    if not (files := tables_in(path, say)):
        raise UserError(f"{path} is a folder without parquet files; give texts, or files of texts")
    return [text for file in files for text in read_texts(file, column)]


def images_in(folder: Path, column: str | None = None, say: Say = quiet) -> list[tuple[str, Any]]:
    """Return the images in a folder, each with a name for messages.

    They are those of its parquet files, as in training, else those anywhere below it, sorted by their paths.

    Args:
        folder: the folder.
        column: of parquet files, the column of the images; None finds it by its name.
        say: is called with a line about what is skipped.

    Raises:
        UserError: there is no image in it, or a file cannot be read.
    """
    if tables := tables_in(folder, say):
        return [row for file in tables for row in read_images(file, column)]
    files = images_below(folder, skipped := Skipped())
    say_skipped(say, str(folder), skipped)
    if not files:
        raise UserError(f"there is no image in folder {folder}")
    return [(str(file), str(file)) for file in files]


def tables_in(folder: Path, say: Say) -> list[Path]:
    """Return a folder's parquet files; if there are any, say how many other entries are skipped."""
    files = parquet_files(folder, "", Skipped())
    if files and (others := len(entries(folder, Skipped())) - len(files)):
        say(f"{folder}: answers its parquet files, as training reads them; {others} other entries are skipped")
    return files


def rows_of(inputs: Any, name: str, labels: int | None = None) -> Sequence[Any]:
    """Return inputs as a sequence with one input in each row; a single input becomes a list of one.

    Args:
        inputs: inputs in one of the forms above.
        name: what errors call them.
        labels: the number of labels; None if there are none.

    Raises:
        UserError: the inputs have no order, or could mean two things.
    """
    if is_table(inputs):
        return table_inputs(inputs, name)
    if hasattr(inputs, "to_pylist"):  # of Arrow
        return inputs.to_pylist()  # type: ignore[no-any-return]
    if _is_one(inputs, labels):
        return [inputs]
    if hasattr(inputs, "read"):
        raise UserError(f"{name}: a {type(inputs).__name__} is an open file; give its path, or its bytes by .read()")
    if not hasattr(inputs, "__len__") or not hasattr(inputs, "__getitem__"):
        raise UserError(f"{name}: a {type(inputs).__name__} is neither an input nor a sequence of inputs; {NEAREST}")
    if is_column(inputs):
        whole = is_hub_dataset(inputs.source) and type(inputs.source).__name__ == "Dataset"
        return Column(inputs.source, inputs.column_name) if whole and plain(inputs.source) else inputs
    if hasattr(inputs, "iloc") or is_polars(inputs):
        return list(inputs)  # pandas has its own index
    if isinstance(inputs, np.ndarray | Tensor):
        _check_array(inputs, name, labels)
    return inputs  # type: ignore[no-any-return]


def _is_one(inputs: Any, labels: int | None) -> bool:
    """Return whether this is one input, by the rules at the top."""
    if isinstance(inputs, str | bytes | bytearray | memoryview | os.PathLike | Mapping | Image.Image):
        return True
    if not isinstance(inputs, np.ndarray | Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind in "OUS"):
        return False
    if inputs.ndim != 3:
        return inputs.ndim == 2
    if labels is not None:
        return labels == 1 and inputs.shape[0] != 1
    first, last = (side in CHANNELS for side in (inputs.shape[0], inputs.shape[-1]))
    return last or (first and (isinstance(inputs, Tensor) or inputs.shape[0] == 1))


def _check_array(array: np.ndarray[Any, Any] | Tensor, name: str, labels: int | None) -> None:
    """Refuse an array whose first axis does not count inputs, or might not."""
    shape = list(array.shape)
    if isinstance(array, np.ndarray) and array.dtype.kind in "OUS":
        if array.ndim != 1:
            raise UserError(f"{name}: an array of strings or objects has one axis, not {array.ndim}; {NEAREST}")
    elif array.ndim < 2 and 0 not in shape:
        raise UserError(f"{name}: an array of shape {shape} holds no images; these have at least two axes, [h, w]")
    elif labels is None and array.ndim == 3 and array.shape[0] in CHANNELS:
        raise UserError(
            f"{name}: an array of shape {shape} could be one image [c, h, w] or {shape[0]} grey ones [n, h, w];"
            " give array[None] for one, list(array) for several"
        )


def _labels(labels: Any, name: str) -> Sequence[Hashable]:
    """Return labels as a sequence; the integers of a data set's ClassLabel column become names."""
    if is_table(labels):
        return table_labels(labels, name)
    if not isinstance(labels, Iterable) or isinstance(labels, str | bytes | Mapping | set | frozenset):
        raise UserError(f"{name}: (inputs, labels) has a list or an array of labels, not {type(labels).__name__}")
    if hasattr(labels, "to_pylist"):  # of Arrow
        return labels.to_pylist()  # type: ignore[no-any-return]
    column: Any = labels
    if is_column(labels) and type(column.source).__name__ == "Dataset" and plain(column.source):
        return read_labels(column.source, column.column_name, name)[0]
    if is_column(labels) and (names := getattr(column.features, "names", None)):
        return named(list(labels), names, name, column.column_name)
    return labels if hasattr(labels, "__len__") else list(labels)  # type: ignore[return-value]


def _with_labels(data: Any) -> bool:
    """Return whether this is (inputs, labels), not two inputs: labels are several values that are not inputs."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    if is_table(data[1]):
        return True
    several = hasattr(data[1], "__len__") and not _is_one(data[1], None)
    return several and getattr(data[1], "ndim", 1) == 1


class _Firsts(Sequence[Any]):
    """The first of each pair."""

    def __init__(self, pairs: Any) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        return self._pairs[index][0]


def _pair(data: Any, index: int, name: str) -> tuple[Any, Hashable]:
    pair = data[index]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        found = f"one of {len(pair)} values" if isinstance(pair, tuple | list) else type(pair).__name__
        raise UserError(
            f"{name}[{index}]: expected an (input, label) pair, not {found}; give (inputs, labels), such pairs, or the"
            " path of a folder or a file"
        )
    return pair[0], pair[1]

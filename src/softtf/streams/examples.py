"""A labelled sequence of raw inputs (images, files, texts) that are read and decoded only when needed."""

from __future__ import annotations

import bisect
import hashlib
import operator
import os
import random
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softtf.config.arguments import checked
from softtf.config.bounds import Count
from softtf.config.tree import check_value
from softtf.errors import UserError, reason_of
from softtf.files.reading import IMAGE, read_bytes
from softtf.seeds import derive_seed
from softtf.streams.labels import check_saved, hashable_label

EXIF_ORIENTATION = 0x0112  # decoding turns the image by it


class Examples(Sequence[Any]):
    """Labelled raw inputs; `examples[i]` is the i-th input as given, and `examples.labels[i]` is its label.

    A raw input is an array or tensor ([H, W], [H, W, C] or [C, H, W]), a PIL image, a path, a `{"bytes", "path"}` dict
    as in undecoded image columns, or a text. Views (`select`, `per_class`, `with_labels`) copy no rows.
    """

    @checked
    def __init__(
        self,
        rows: Any,
        labels: Iterable[Hashable],
        name: str = "data",
        class_order: Iterable[Hashable] | None = None,
        tasks: Iterable[Hashable] | None = None,
    ) -> None:
        """Pair `rows` with `labels`.

        Args:
            rows: any object with a length whose `rows[i]` is a raw input.
            labels: a label for each row: a string, an integer, a boolean, a finite float, bytes, or a tuple of these,
                which can be saved; numpy and torch scalars become Python scalars.
            name: what errors call the data.
            class_order: the order of `classes` (it may list absent classes too); None sorts them.
            tasks: the task of each row, if the data name one (`split_by_task`); tasks come in the order of their first
                rows.

        Raises:
            UserError: there are no rows; there is not one label, or not one task, for each row; a label is missing
                (None, NaN, NaT, NA), of another type or not in `class_order`; or a task is missing or unhashable.
        """
        if not hasattr(rows, "__getitem__") or not hasattr(rows, "__len__"):
            raise UserError(f"{name}: a {type(rows).__name__} of inputs has no order; give a list or an array")
        self.name = name
        self.labels: tuple[Hashable, ...] = tuple(hashable_label(label, i, name) for i, label in enumerate(labels))
        if len(rows) != len(self.labels):
            raise UserError(f"{name}: {len(rows)} inputs but {len(self.labels)} labels; give each input one label")
        if not self.labels:
            raise UserError(f"{name}: holds no examples; a task needs at least one")
        self.class_order = None if class_order is None else tuple(class_order)
        self.classes: tuple[Hashable, ...] = _in_order(dict.fromkeys(self.labels), self.class_order, name)
        for label in self.classes:
            check_saved(label, self.labels, name)
        self.tasks = (
            None if tasks is None else tuple(hashable_label(task, i, name, "task") for i, task in enumerate(tasks))
        )
        if self.tasks is not None and len(self.tasks) != len(self.labels):
            raise UserError(f"{name}: {len(self.labels)} inputs but {len(self.tasks)} tasks; give each input one task")
        self.task_order: tuple[Hashable, ...] = tuple(dict.fromkeys(self.tasks or ()))
        self._rows: Sequence[Any] = list(rows) if hasattr(rows, "iloc") else rows  # pandas has its own index
        self._indices: Sequence[int] = range(len(rows))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[self._indices[operator.index(index)]]

    def __repr__(self) -> str:
        return f"Examples({self.name!r}, {len(self)} examples, {len(self.classes)} classes)"

    def where(self, index: int) -> str:
        """Return what errors call example `index`: the name of the data and the row in them."""
        return f"{self.name}[{self._indices[index]}]"

    def select(self, indices: Iterable[int]) -> Examples:
        """Return a view of the examples at `indices`, in that order.

        Raises:
            UserError: there are no indices, or one is not in [0, len).
        """
        chosen = [operator.index(i) for i in indices]
        if wrong := [i for i in chosen if not 0 <= i < len(self)]:
            raise UserError(f"{self.name}: index {wrong[0]} is not in 0..{len(self) - 1}")
        tasks = None if self.tasks is None else [self.tasks[i] for i in chosen]
        labels = [self.labels[i] for i in chosen]
        return self._view([self._indices[i] for i in chosen], labels, self.class_order, tasks)

    def with_labels(self, labels: Iterable[Hashable], class_order: Sequence[Hashable] | None = None) -> Examples:
        """Return the same inputs with other labels and another class order."""
        return self._view(self._indices, labels, class_order, self.tasks)

    def per_class(self, n: int | None, seed: int) -> Examples:
        """Return at most `n` examples of every class (all if None), chosen by `seed`, in their present order.

        The choice for a smaller `n` is part of the choice for a larger one.
        """
        if n is None:
            return self
        check_value(Count, n, f"{self.name}: examples per class")
        return self._drawn([n] * len(self.classes), seed)

    def evenly(self, total: int | None, seed: int) -> Examples:
        """Return at most `total` examples (all if None), equally many of every class, as `per_class` chooses them.

        The remainder goes to the first classes, one example each. A class gives at least one example, and at most all
        that it has.
        """
        if total is None:
            return self
        check_value(Count, total, f"{self.name}: the number of examples")
        share, rest = divmod(total, len(self.classes))
        return self._drawn([max(1, share + (position < rest)) for position in range(len(self.classes))], seed)

    def _drawn(self, counts: Sequence[int], seed: int) -> Examples:
        """Return at most `counts[i]` examples of `classes[i]`, chosen by `seed`, in their present order."""
        chosen: list[int] = []
        for position, (members, count) in enumerate(zip(self.members(), counts, strict=True)):
            random.Random(derive_seed(seed, "per class", position)).shuffle(members)
            chosen += members[:count]
        return self.select(sorted(chosen))

    def members(self) -> list[list[int]]:
        """Return the ascending indices of the examples of each of `classes`."""
        members: dict[Hashable, list[int]] = {label: [] for label in self.classes}
        for index, label in enumerate(self.labels):
            members[label].append(index)
        return list(members.values())

    @staticmethod
    def concatenate(parts: Sequence[Examples]) -> Examples:
        """Return the examples of all `parts`, concatenated; a class order is kept if every part has one."""
        if not parts:
            raise UserError("nothing to concatenate: give at least one set of examples")
        orders = [part.class_order for part in parts if part.class_order is not None]
        return Examples(
            _Concatenation(parts),
            [label for part in parts for label in part.labels],
            "+".join(dict.fromkeys(part.name for part in parts)),
            tuple(dict.fromkeys(c for order in orders for c in order)) if len(orders) == len(parts) else None,
        )

    def sizes(self) -> np.ndarray[Any, Any] | None:
        """Return the bytes of each text or undecoded image, int64 [examples]; None if only reading would tell."""
        sizes = _sizes(self._rows)
        return None if sizes is None else sizes[np.asarray(self._indices, dtype=np.int64)]

    @checked
    def fingerprint(self, labels: bool = True) -> str:
        """Return the SHA-256 (hex) of the contents of all inputs in order (files are read), with or without labels."""
        digest = hashlib.sha256()
        for i in range(len(self)):
            label = self.labels[i]
            parts = content(self[i], self.where(i))
            if labels:
                parts.append(f"{type(label).__name__}:{label!r}".encode())
            digest.update(str([len(part) for part in parts]).encode())  # so that the parts cannot be confused
            for part in parts:
                digest.update(part)
        return digest.hexdigest()

    def _view(
        self,
        indices: Sequence[int],
        labels: Iterable[Hashable],
        class_order: Sequence[Hashable] | None,
        tasks: Iterable[Hashable] | None,
    ) -> Examples:
        view = Examples(indices, labels, self.name, class_order, tasks)
        view._rows, view._indices, view.task_order = self._rows, indices, self.task_order
        return view


class _Concatenation(Sequence[Any]):
    def __init__(self, parts: Sequence[Sequence[Any]]) -> None:
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def sizes(self) -> np.ndarray[Any, Any] | None:
        known = [part for part in map(_sizes, self._parts) if part is not None]
        return np.concatenate(known) if len(known) == len(self._parts) else None

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        part = bisect.bisect_right(self._ends, index)
        return self._parts[part][index - (self._ends[part - 1] if part else 0)]


def _sizes(rows: Sequence[Any]) -> np.ndarray[Any, Any] | None:
    if type(rows) is list and all(isinstance(row, str) for row in rows):
        return np.array([len(row.encode("utf-8", "surrogatepass")) for row in rows], np.int64)
    return rows.sizes() if hasattr(rows, "sizes") else None


def _in_order(present: dict[Hashable, None], order: tuple[Hashable, ...] | None, name: str) -> tuple[Hashable, ...]:
    if order is not None:
        if strange := set(present).difference(order):
            raise UserError(f"{name}: label {next(iter(strange))!r} is not in the class order")
        return tuple(label for label in order if label in present)
    try:
        return tuple(sorted(present))  # type: ignore[type-var]
    except TypeError:  # labels of several types have no order: keep that of their first examples
        return tuple(present)


def content(raw: Any, where: str) -> list[bytes]:
    """Return what identifies a raw input: its kind and its bytes.

    Raises:
        UserError: a file is missing, or the input has an unknown type.
    """
    if isinstance(raw, dict):
        raw = raw.get("bytes") or Path(raw.get("path") or "")  # another dict: a path without a file
    if isinstance(raw, torch.Tensor):
        raw = raw.detach().cpu().contiguous()
        return [
            f"{raw.dtype}{tuple(raw.shape)}".encode(),
            raw.reshape(-1).view(torch.uint8).numpy().tobytes(),
        ]
    if isinstance(raw, np.ndarray):
        return [f"{raw.dtype}{raw.shape}".encode(), raw.tobytes()]
    if isinstance(raw, bytes | bytearray | memoryview):
        return [b"bytes", bytes(raw)]
    if isinstance(raw, str):  # a text, or the path of a file
        return [
            b"text",
            raw.encode("utf-8", "surrogatepass"),
            *([_content_of(raw, where)] if os.path.isfile(raw) else []),
        ]
    if isinstance(raw, os.PathLike):
        if not os.path.isfile(raw):
            raise UserError(f"{where}: there is no file {str(raw)!r}")
        return [b"bytes", _content_of(raw, where)]
    if hasattr(raw, "mode") and hasattr(raw, "tobytes"):  # a PIL image
        palette = raw.getpalette() if raw.mode in ("P", "PA") else None
        return [f"{raw.mode}{raw.size}{palette}{raw.getexif().get(EXIF_ORIENTATION)}".encode(), raw.tobytes()]
    raise UserError(f"{where}: cannot read an input of type {type(raw).__name__}")


def _content_of(path: str | os.PathLike[str], where: str) -> bytes:
    try:
        return read_bytes(Path(path), IMAGE)
    except OSError as error:
        raise UserError(f"{where}: the file {str(path)!r} cannot be read ({reason_of(error)})") from None

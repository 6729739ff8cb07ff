"""Data that have splits, or can be read once only, as data that can be read again."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Subset
from torch.utils.data.sampler import RandomSampler, SequentialSampler, SubsetRandomSampler

from softtf.errors import UserError
from softtf.streams.columns import is_hub_dataset
from softtf.streams.splits import listed, named_as

MOST = 2**20
"""Examples that are read into memory from what can be read once."""
ARROW = ("Table", "RecordBatch", "RecordBatchReader")


def gathered(data: Any, name: str, split: Literal["train", "test"]) -> Any:
    """Return data in a form that can be read again; what is in one already is returned as it is.

    A DatasetDict gives the split that is wanted, or its only one. A table of pyarrow becomes a `datasets.Dataset`. What
    is streamed (an IterableDataset of `datasets` or of torch, a generator) is read to its end, into memory. A
    DataLoader gives its data set: batches, order and what joins examples are the training's own.

    Args:
        data: any.
        name: what errors call them.
        split: which of the splits is wanted.

    Raises:
        UserError: there is no such split, more than MOST examples are streamed, or a DataLoader draws examples.
    """
    kind = type(data).__name__ if is_hub_dataset(data) else ""
    if kind in ("DatasetDict", "IterableDatasetDict"):
        found = named_as(split, data) or (list(data) if len(data) == 1 else [])
        if not found:
            example = next(iter(data), "...")
            raise UserError(
                f"{name}: none of the splits {listed([*map(str, data)]) or '(there are none)'} is called {split}; give"
                f" one of them, such as data[{example!r}]"
            )
        return gathered(data[found[0]], name, split)
    if type(data).__module__.split(".")[0] == "pyarrow" and type(data).__name__ in ARROW:
        return _of_arrow(data)
    if kind == "IterableDataset":
        return _rows(data, name)
    if isinstance(data, DataLoader):
        return gathered(_of_loader(data, name), name, split)
    if isinstance(data, Iterator | IterableDataset) and not hasattr(data, "read"):
        return _listed(data, name)
    return data


def _of_arrow(data: Any) -> Any:
    """Return the rows of what `ARROW` names as a `datasets.Dataset`; a reader is read to its end."""
    import datasets
    import pyarrow  # type: ignore[import-untyped]

    if isinstance(data, pyarrow.RecordBatchReader):
        data = data.read_all()
    return datasets.Dataset(data if isinstance(data, pyarrow.Table) else pyarrow.Table.from_batches([data]))


def _listed(data: Iterable[Any], name: str) -> list[Any]:
    found = list(islice(data, MOST + 1))
    if len(found) > MOST:
        raise UserError(f"{name}: the stream has more than {MOST:,} examples, which are read into memory; give a part")
    return found


def _rows(data: Any, name: str) -> Any:
    """Return a streamed data set's rows as a `datasets.Dataset`; images stay as they were encoded."""
    import datasets

    for column, feature in (data.features or {}).items():
        if isinstance(feature, datasets.Image):
            data = data.cast_column(column, datasets.Image(decode=False))
    rows = _listed(data, name)
    if not rows:
        raise UserError(f"{name}: the stream has no examples")
    found = datasets.Dataset.from_list(rows, features=data.features)
    for column, feature in (data.features or {}).items():
        if isinstance(feature, datasets.Image):
            found = found.cast_column(column, datasets.Image())
    return found


def _of_loader(loader: "DataLoader[Any]", name: str) -> Any:
    """Return the data set of a DataLoader, or those of its examples that a sampler of a subset names."""
    batches = loader.batch_sampler
    sampler: Any = batches.sampler if type(batches) is BatchSampler else loader.sampler if batches is None else batches
    if isinstance(loader.dataset, IterableDataset) or type(sampler) is SequentialSampler:
        return loader.dataset
    if type(sampler) is SubsetRandomSampler:
        indices = sampler.indices
        return Subset(loader.dataset, sorted(indices.tolist() if isinstance(indices, torch.Tensor) else indices))
    if type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source):
        return loader.dataset
    raise UserError(
        f"{name}: a DataLoader whose {type(sampler).__name__} draws examples is not read as it draws; give its"
        " .dataset, or a torch Subset of it"
    )

"""Batches of prepared inputs: shuffled and augmented for training, in order for testing."""

import os
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softtf.config.bounds import AtLeast, BatchSize
from softtf.config.tree import check_value
from softtf.errors import UserError
from softtf.seeds import derive_seed
from softtf.streams.cache import Cache
from softtf.streams.examples import Examples
from softtf.streams.preparation import Preparation, Ready, unaugmented
from softtf.streams.texts import join

Loaded = Sequence[Tensor] | Tensor
Row = int | tuple[int, Any]
"""Which example is to be loaded, and the numbers drawn for it where it is augmented (an array: cheap to send)."""


class Loader:
    """Makes batches of `examples`; a seed gives the same batches whatever the cache and the workers."""

    def __init__(
        self,
        examples: Examples,
        targets: Tensor,
        preparation: Preparation,
        train: bool,
        batch_size: int,
        device: torch.device | str,
        cache_bytes: int = 2**30,
        workers: int | None = None,
    ) -> None:
        """Prepare to load; nothing is read yet.

        Args:
            examples: the raw inputs.
            targets: int64 [N], what `epoch` gives beside the inputs.
            preparation: how raw inputs become batches.
            train: True for `epoch` (augmented), False for `batches` and `inputs` (as they are, in order).
            batch_size: examples a batch; the last one of a pass may be smaller.
            device: where batches go.
            cache_bytes: the memory that loaded inputs may take; what does not fit is loaded again each time.
            workers: the processes that load; None is none on a CPU, up to eight on a GPU. Where there are any, photos
                to be cropped are not kept but decoded in each epoch: that costs the device no waiting, cropping what
                is kept here would.

        Raises:
            UserError: targets that are not int64 [N], a batch size below 1, or negative workers.
        """
        if targets.shape != (len(examples),) or targets.dtype != torch.int64:
            raise UserError(
                f"{examples.name}: targets must be int64 [{len(examples)}], not {targets.dtype} {list(targets.shape)}"
            )
        check_value(BatchSize, batch_size, "batch_size")
        check_value(Annotated[int, AtLeast(0)] | None, workers, "workers")
        self.examples, self.preparation, self.train, self.batch_size = (
            examples,
            preparation,
            train,
            batch_size,
        )
        self.device = torch.device(device)
        self.targets = targets.to(self.device)
        if workers is None:
            workers = min(8, os.cpu_count() or 1) if self.device.type == "cuda" else 0
        self.workers = workers
        room = 0 if workers else cache_bytes // len(examples)
        self._rows = _Rows(examples, preparation, train, room)
        self._cache = Cache(len(examples), cache_bytes, self.device)

    def fresh(self, cache_bytes: int = 0) -> "Loader":
        """Return a loader of the same examples that reads each of them anew, and remembers what fits `cache_bytes`."""
        settings = (self.examples, self.targets.cpu(), self.preparation, self.train, self.batch_size, self.device)
        return Loader(*settings, cache_bytes=cache_bytes, workers=self.workers)

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def epoch(self, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield augmented inputs [b, ...], targets [b] and rows [b] of all examples, in an order drawn from `seed`.

        The rows, on the CPU, say which of the examples these are.

        Raises:
            UserError: the loader is not for training, or an input cannot be loaded.
        """
        if not self.train:
            raise UserError(f"{self.examples.name}: a loader with train=False has no epochs; use batches()")
        order = torch.randperm(len(self.examples), generator=_generator(seed, "order"))
        augmentation = _generator(seed, "augmentation")
        batches = self._split(order.tolist(), self.batch_size)
        for batch, inputs in zip(batches, self._augmented(batches, augmentation), strict=True):
            rows = torch.tensor(batch)
            yield inputs, self.targets[rows.to(self.device)], rows

    def _augmented(self, batches: list[Sequence[int]], generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the inputs of each batch; what is drawn for them depends on the generator and the batches alone."""
        preparation: Any = self.preparation  # an Augmentation if it augments
        if not preparation.augment:
            for loaded in self._load(batches):
                yield preparation.augment_batch(loaded, self.device, generator)
            return
        drawn = [preparation.draw(len(batch), generator) for batch in batches]
        for loaded, numbers in zip(self._load(batches, drawn), drawn, strict=True):
            yield preparation.augment_drawn(loaded, numbers, self.device)

    def batches(self, indices: Sequence[int] | None = None, batch_size: int | None = None) -> Iterator[Tensor]:
        """Yield inputs [b, ...] without augmentation, of all examples or those at `indices`, in that order.

        Args:
            indices: None for all.
            batch_size: another one than the loader's.

        Raises:
            UserError: the loader is for training, or an input cannot be loaded.
        """
        if self.train:
            raise UserError(f"{self.examples.name}: a loader with train=True augments; use epoch()")
        wanted = range(len(self.examples)) if indices is None else [int(i) for i in indices]
        if wrong := [i for i in wanted if not 0 <= i < len(self.examples)]:
            raise UserError(f"{self.examples.name}: index {wrong[0]} is not in 0..{len(self.examples) - 1}")
        for loaded in self._load(self._split(wanted, batch_size or self.batch_size)):
            yield self.preparation.batch(loaded, self.device)

    def inputs(self, indices: Sequence[int]) -> Tensor:
        """Return the inputs [n, ...] of the examples at `indices` (at least one), without augmentation."""
        if len(indices) == 0:
            raise UserError(f"{self.examples.name}: no indices given; ask for at least one input")
        return join(list(self.batches(indices)))

    def lengths(self) -> Tensor:
        """Return how many rows the loaded form of each example has, int64 [N]: of a text, its tokens.

        Raises:
            UserError: an input cannot be loaded.
        """
        batches = self._load(self._split(range(len(self.examples)), self.batch_size))
        return torch.tensor([len(loaded) for batch in batches for loaded in batch])

    def loaded(self, indices: Sequence[int]) -> list[Tensor]:
        """Return the inputs of the examples at `indices` in their loaded form, on the CPU: what is kept as exemplars.

        Of photos that are reduced copies (`ImagePreparation.load_train`), whatever is kept for cropping.

        Raises:
            UserError: an input cannot be loaded.
        """
        if self.train and self.preparation.augment:
            raw = [self._cache.get([i])[0].cpu() if i in self._cache else self.examples[i] for i in indices]
            where = map(self.examples.where, indices)
            return [self.preparation.load_train(*pair) for pair in zip(raw, where, strict=True)]
        (batch,) = self._load([indices])
        return [loaded.cpu() for loaded in batch]

    def prepared(self, loaded: Loaded, generator: torch.Generator | None = None) -> Tensor:
        """Return inputs [n, ...] for the network, made from training examples in their loaded form.

        Args:
            loaded: as `loaded` gave them, from this loader or an earlier task's.
            generator: draws the augmentation, if the loader's inputs are augmented; None for none.
        """
        preparation = self.preparation if generator else unaugmented(self.preparation)
        return preparation.augment_batch(loaded, self.device, generator or torch.Generator())

    def unaugmented(self, loaded: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield inputs [b, ...] for the network, without augmentation, of training examples.

        Args:
            loaded: some in their loaded form, as for `prepared`; None for all of the loader's.

        Raises:
            UserError: an input cannot be loaded.
        """
        count = len(self.examples) if loaded is None else len(loaded)
        for part in self._split(range(count), self.batch_size):
            yield self.prepared(self.loaded(part) if loaded is None else [loaded[i] for i in part])

    @staticmethod
    def _split(order: Sequence[int], size: int) -> list[Sequence[int]]:
        return [order[i : i + size] for i in range(0, len(order), size)]

    def _load(self, batches: list[Sequence[int]], drawn: Sequence[Tensor] | None = None) -> Iterator[Any]:
        """Yield the loaded inputs of each batch, from the cache or fresh.

        Args:
            batches: of rows.
            drawn: numbers for each of them, if they are to be augmented (`load_drawn`).
        """
        missing = [[n for n, i in enumerate(batch) if i not in self._cache] for batch in batches]
        wanted: list[list[Row]] = [
            [batch[n] if drawn is None else (batch[n], drawn[b][n].numpy()) for n in absent]
            for b, (batch, absent) in enumerate(zip(batches, missing, strict=True))
            if absent
        ]
        fresh_batches = self._fresh(wanted)
        for batch, absent in zip(batches, missing, strict=True):
            if not absent:
                yield self._cache.get(batch)
                continue
            fresh = dict(zip((batch[n] for n in absent), next(fresh_batches), strict=True))
            yield [fresh[i] if i in fresh else self._cache.get([i])[0] for i in batch]
            for index, loaded in fresh.items():
                if isinstance(loaded, Tensor):
                    self._cache.put(index, loaded)

    def _fresh(self, batches: list[list[Row]]) -> Iterator[list[Tensor | Ready]]:
        """Yield the inputs of each batch, loaded here or by worker processes a few batches ahead."""
        if self.workers == 0 or len(batches) < 2:
            for batch in batches:
                yield [_checked(self._rows[i]) for i in batch]
            return
        for results in DataLoader(
            self._rows,
            batch_sampler=batches,
            num_workers=min(self.workers, len(batches)),
            collate_fn=_sent,
            generator=torch.Generator(),  # else it would draw from, and so change, the global one
        ):
            yield [_received(result) for result in results]


class _Rows(Dataset[Any]):
    """Loads one row; an error becomes a value, so that it leaves a worker process with its message whole."""

    def __init__(self, examples: Examples, preparation: Preparation, train: bool, room: int) -> None:
        self._examples, self._train, self._room = examples, train, room
        self._preparation: Any = preparation

    def __getitem__(self, row: Row) -> Tensor | Ready | UserError:
        index, drawn = row if isinstance(row, tuple) else (row, None)
        load = self._preparation.load_train if self._train else self._preparation.load_test
        try:
            raw, where = self._examples[index], self._examples.where(index)
            if drawn is None:
                return load(raw, where)  # type: ignore[no-any-return]
            return self._preparation.load_drawn(raw, where, torch.from_numpy(drawn), self._room)  # type: ignore[no-any-return]
        except UserError as error:
            return error


def _sent(results: list[Tensor | Ready | UserError]) -> list[UserError | tuple[bool, NDArray[Any]]]:
    """Return tensors as arrays, which travel by value: a tensor that a worker sends holds a file open while it lives.

    Tens of thousands are kept (`Cache`), and a process may have a thousand files open. Beside each: is it Ready?
    """
    return [
        r if isinstance(r, UserError) else (isinstance(r, Ready), (r.values if isinstance(r, Ready) else r).numpy())
        for r in results
    ]


def _received(result: UserError | tuple[bool, NDArray[Any]]) -> Tensor | Ready:
    if isinstance(result, UserError):
        raise result
    ready, values = result[0], torch.from_numpy(result[1])
    return Ready(values) if ready else values


def _checked(result: Tensor | Ready | UserError) -> Tensor | Ready:
    if isinstance(result, UserError):
        raise result
    return result


def _generator(seed: int, use: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, use))

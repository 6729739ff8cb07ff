"""Batches of prepared inputs: shuffled and augmented for training, in order for testing."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from softtf.config.bounds import AtLeast, BatchSize
from softtf.config.tree import check_value
from softtf.devices.device import moved
from softtf.devices.processes import count
from softtf.errors import UserError
from softtf.seeds import derive_seed
from softtf.streams.cache import Cache
from softtf.streams.examples import Examples
from softtf.streams.preparation import Augmentation, Preparation, Ready, unaugmented
from softtf.streams.rows import Row, Rows, checked, received, sent
from softtf.streams.texts import join

AT_ONCE = 256
"""How many inputs a GPU augments at once, for several batches."""
Loaded = Sequence[Tensor] | Tensor


class Loader:
    """Makes batches of `examples`; a seed gives the same batches with any cache and any number of workers."""

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
            targets: int64 [N], which `epoch` yields with the inputs.
            preparation: how raw inputs become batches.
            train: True for `epoch` (augmented, shuffled), False for `batches` and `inputs` (not augmented, in order).
            batch_size: the size of a batch; the last one of a pass may be smaller.
            device: the device of the batches.
            cache_bytes: the memory for loaded inputs; an input that does not fit is loaded again each time.
            workers: the number of loading processes; None is 0 on a CPU and up to eight for a GPU. With workers, photos
                are decoded in each epoch instead of cached: the device does not wait for the workers, but it would wait
                for this process to crop cached photos.

        Raises:
            UserError: the targets are not int64 [N], or batch_size or workers is out of bounds.
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
            cores = (os.cpu_count() or 1) // count()
            workers = min(8, max(1, cores)) if self.device.type == "cuda" else 0
        self.workers = workers
        room = 0 if workers else cache_bytes // len(examples)
        self._rows = Rows(examples, preparation, train, room)
        self._cache = Cache(len(examples), cache_bytes, self.device)

    def fresh(self, cache_bytes: int = 0) -> "Loader":
        """Return a loader of the same examples with an empty cache of `cache_bytes`."""
        settings = (self.examples, self.targets.cpu(), self.preparation, self.train, self.batch_size, self.device)
        return Loader(*settings, cache_bytes=cache_bytes, workers=self.workers)

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def epoch(self, seed: int, part: Callable[[int], slice] = slice) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield augmented inputs [b, ...], targets [b] and rows [b] of all examples, shuffled by `seed`.

        The rows, on the CPU, are the indices of the examples.

        Args:
            seed: of the order and of the augmentation.
            part: says which places of a batch of so many examples are loaded; by default all are. What is drawn for an
                example does not depend on it.

        Raises:
            UserError: the loader is not for training, or an input cannot be loaded.
        """
        if not self.train:
            raise UserError(f"{self.examples.name}: a loader with train=False has no epochs; use batches()")
        order = torch.randperm(len(self.examples), generator=_generator(seed, "order"))
        augmentation = _generator(seed, "augmentation")
        whole = self._split(order.tolist(), self.batch_size)
        parts = [part(len(batch)) for batch in whole]
        inputs = self._augmented(whole, parts, augmentation)
        rows, targets = (x.split(self.batch_size) for x in (order, self.targets[moved(order, self.device)]))
        for values, columns, indices, places in zip(inputs, targets, rows, parts, strict=True):
            yield values, columns[places], indices[places]

    def _augmented(
        self, whole: list[Sequence[int]], parts: list[slice], generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Yield the inputs of each batch's part; their random numbers depend only on the generator and the batches."""
        batches = [batch[places] for batch, places in zip(whole, parts, strict=True)]
        if not self.preparation.augment:
            for loaded in self._load(batches):
                yield self.preparation.augment_batch(loaded, self.device, generator)
            return
        preparation = cast(Augmentation, self.preparation)
        drawn = [preparation.draw(len(b), generator)[places] for b, places in zip(whole, parts, strict=True)]
        together = [slice(i, i + self.at_once) for i in range(0, len(batches), self.at_once)]
        for some, loaded in zip(together, self._load_together(batches, drawn), strict=True):
            inputs = preparation.augment_drawn(loaded, torch.cat(drawn[some]), self.device)
            yield from inputs.split([len(batch) for batch in batches[some]])

    @property
    def at_once(self) -> int:
        """How many batches are augmented at once: on a GPU several, since starting this work takes longest."""
        return max(1, AT_ONCE // self.batch_size) if self.device.type == "cuda" else 1

    def _load_together(self, batches: list[Sequence[int]], drawn: list[Tensor]) -> Iterator[Loaded]:
        """Yield the loaded inputs of `at_once` batches at a time."""
        if self._cache.is_merged:
            for start in range(0, len(batches), self.at_once):
                yield self._cache.get([i for batch in batches[start : start + self.at_once] for i in batch])
            return
        each = self._load(batches, drawn)
        while some := list(islice(each, self.at_once)):
            yield some[0] if len(some) == 1 else [image for loaded in some for image in loaded]

    def batches(self, indices: Sequence[int] | None = None, batch_size: int | None = None) -> Iterator[Tensor]:
        """Yield inputs [b, ...] without augmentation, of all examples or of those at `indices`, in that order.

        Args:
            indices: indices of examples; None for all.
            batch_size: the size of a batch; None is the loader's.

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
        """Return the first dimension of each example's loaded form, int64 [N]: the number of a text's tokens.

        Raises:
            UserError: an input cannot be loaded.
        """
        batches = self._load(self._split(range(len(self.examples)), self.batch_size))
        return torch.tensor([len(loaded) for batch in batches for loaded in batch])

    def check(self) -> None:
        """Load every input once, and keep none.

        Raises:
            UserError: an input cannot be loaded.
        """
        for _ in self.fresh()._load(self.all_batches()):
            pass

    def loaded(self, indices: Sequence[int]) -> list[Tensor]:
        """Return the inputs of the examples at `indices` in their loaded form, on the CPU, to be kept as exemplars.

        Photos come as reduced copies (`ImagePreparation.load_train`), even if their originals are cached.

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
            loaded: results of `loaded`, of this loader or of an earlier task's.
            generator: draws the augmentation, if the loader augments; None turns augmentation off.
        """
        preparation = self.preparation if generator else unaugmented(self.preparation)
        return preparation.augment_batch(loaded, self.device, generator or torch.Generator())

    def unaugmented(self, loaded: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield inputs [b, ...] for the network, without augmentation, of training examples.

        Args:
            loaded: examples in their loaded form, as for `prepared`; None for all examples of the loader.

        Raises:
            UserError: an input cannot be loaded.
        """
        count = len(self.examples) if loaded is None else len(loaded)
        for part in self._split(range(count), self.batch_size):
            yield self.prepared(self.loaded(part) if loaded is None else [loaded[i] for i in part])

    def all_batches(self) -> list[Sequence[int]]:
        """Return the indices of all examples in their order, in batches."""
        return self._split(range(len(self.examples)), self.batch_size)

    @staticmethod
    def _split(order: Sequence[int], size: int) -> list[Sequence[int]]:
        return [order[i : i + size] for i in range(0, len(order), size)]

    def _load(self, batches: list[Sequence[int]], drawn: Sequence[Tensor] | None = None) -> Iterator[Any]:
        """Yield the loaded inputs of each batch, from the cache or read now.

        Args:
            batches: the indices of each batch.
            drawn: their random numbers, if they are augmented (`load_drawn`).
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
        """Yield the inputs of each batch, read here, or by worker processes a few batches ahead."""
        if self.workers == 0 or len(batches) < 2:
            for batch in batches:
                yield [checked(self._rows[i]) for i in batch]
            return
        for results in DataLoader(
            self._rows,
            batch_sampler=batches,
            num_workers=min(self.workers, len(batches)),
            collate_fn=sent,
            generator=torch.Generator(),  # otherwise it would draw from the global one
        ):
            yield [received(result) for result in results]


def _generator(seed: int, use: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, use))

"""q(x): the frozen backbone's features of inputs that never change, computed once for a data set and kept on disk.

Each time a file is read, a few features are computed again; that shows a change that its name does not tell, such as
another version of a library's forward pass. The features of a damaged file are computed again. Nothing here depends on
a method.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import SystemRandom

import torch
from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.feature_store import FeatureStore, Queries
from softtf.devices import processes
from softtf.streams import Loader

BATCH = 64  # always, so that the features do not depend on who asks first
TOKENS = 2**30  # bytes for texts between sorting them by length and running them
PROBES = 4  # random features that are computed again each time a file is read
WIDEST = 0.03  # the largest relative error of these that rounding can cause, in bfloat16

OnStep = Callable[[int, int], None]
"""Is called with the number done and the total."""


def no_progress(done: int, total: int) -> None:
    """Ignore the progress."""


class FixedQueries:
    """The features of a loader's examples: read or computed when first needed, then kept in memory.

    Args:
        backbone: the frozen backbone, without adaptations; its `compute_dtype` is that of the features.
        loader: a loader in test mode.
        store: the folder to read them from and write them to; None for memory only.
    """

    def __init__(self, backbone: Backbone, loader: Loader, store: FeatureStore | None = None) -> None:
        self.backbone, self.loader, self.store = backbone, loader, store
        self._known: dict[torch.dtype, Queries] = {}

    def get(self, on_step: OnStep = no_progress) -> Queries:
        """Return the features of all examples; `on_step` is as for `fixed_queries`.

        Raises:
            UserError: an input cannot be loaded.
        """
        dtype = self.backbone.compute_dtype
        if dtype not in self._known:
            self._known[dtype] = fixed_queries(self.backbone, self.loader, self.store, on_step)
        return self._known[dtype]

    @property
    def kept_seconds(self) -> float:
        """The seconds, of loading and computing, that an earlier run took for the features read from disk so far."""
        return sum(found.seconds + found.loading for found in self._known.values() if found.from_disk)


def fixed_queries(
    backbone: Backbone, loader: Loader, store: FeatureStore | None = None, on_step: OnStep = no_progress
) -> Queries:
    """Return q(x) of all examples of a loader in test mode, read from the store, or computed and written to it.

    `on_step` is called after each batch with the number of examples done and their total.

    Raises:
        UserError: an input cannot be loaded.
    """
    store = store if processes.is_first() else None  # of several processes of a run, the first reads and writes
    path = store.path(backbone, loader) if store else None
    found = _kept(backbone, loader, store, path) if store and path else None
    if (known := _found_by_first(found, (len(loader.examples), backbone.dim))) is not None:
        return known
    queries = _compute(backbone, loader.fresh(TOKENS if backbone.reads_text else 0), on_step)
    if store and path:
        if store.path(backbone, loader) == path:
            store.write(path, queries)
        else:
            store.say("inputs changed while their features were computed; the features are not kept on disk")
    return queries


def _kept(backbone: Backbone, loader: Loader, store: FeatureStore, path: Path) -> Queries | None:
    """Return the features in a file, if there are any and they are what the backbone computes."""
    found = store.read(path, (len(loader.examples), backbone.dim))
    if found is None or _probes_agree(backbone, loader, found.values):
        return found
    store.say(f"{path} is not what this backbone computes; its features are computed again")
    return None


def _found_by_first(found: Queries | None, shape: tuple[int, int]) -> Queries | None:
    """Return what the first process of the run found, for all of them."""
    about = found and [str(found.values.dtype).removeprefix("torch."), found.seconds, found.loading]
    if (about := processes.told(about)) is None:
        return None
    dtype, seconds, loading = about
    values = found.values if found else torch.empty(shape, dtype=getattr(torch, dtype))
    return Queries(processes.given(values), seconds, True, loading)


@torch.no_grad()
def _compute(backbone: Backbone, loader: Loader, on_step: OnStep) -> Queries:
    """Run the backbone over all examples in batches of a fixed size: images in order, texts sorted by length.

    Batches of texts with similar lengths have little padding. The processes of a run each compute some batches.
    """
    order = loader.lengths().argsort(stable=True) if backbone.reads_text else torch.arange(len(loader.examples))
    began = time.perf_counter()
    seconds, all_done = 0.0, len(order)

    def compute(batches: list[Sequence[int]]) -> Iterator[Tensor]:
        nonlocal seconds
        done = 0
        for inputs in loader.batches([row for batch in batches for row in batch], BATCH):
            start = time.perf_counter()
            found = _query(backbone, inputs).cpu()  # the copy waits for the device, so the time is right
            seconds += time.perf_counter() - start
            done += len(inputs) * processes.count()
            on_step(min(done, all_done), all_done)
            yield found

    sorted_values = processes.together([batch.tolist() for batch in order.split(BATCH)], compute)
    values = torch.empty_like(sorted_values)
    values[order] = sorted_values
    whole, computing = processes.mean(time.perf_counter() - began, seconds)
    return Queries(values, computing, loading=whole - computing)


def _query(backbone: Backbone, inputs: Tensor) -> Tensor:
    return backbone.pool(backbone.run(backbone.embed(inputs), 0, backbone.depth))


@torch.no_grad()
def _probes_agree(backbone: Backbone, loader: Loader, values: Tensor) -> bool:
    """Return whether a few features, which nobody can foresee, are the same up to rounding when computed again."""
    rows = torch.tensor(sorted(SystemRandom().sample(range(len(values)), min(PROBES, len(values)))))
    few = values[rows]
    again = _query(backbone, loader.fresh().inputs(rows.tolist())).cpu()
    tolerance = min(torch.finfo(backbone.compute_dtype).eps ** 0.5, WIDEST)
    return again.dtype == few.dtype and bool((again - few).norm() <= tolerance * again.norm())

"""Trunk tokens of test inputs, kept from one scoring to the next: what no later task changes is computed once.

Kept are the very tokens of a batch, for the very same batch, so that answers are bit for bit those without keeping.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.backbones.base import Tokens
from softtf.network import AdaptedNetwork

LIMIT = 2**30


@dataclass(frozen=True)
class KeptTrunk:
    """A batch's tokens, and the seconds that they took."""

    tokens: Tokens
    seconds: float


class KeptTrunks:
    """The trunks of a run's test batches, where the network declares its trunk settled.

    A trunk that shared parameters edit (a G-prompt that is no longer trained) goes by their values too: with other
    ones, in another learner of the same run, nothing is found.

    Args:
        limit: bytes that the tokens may take, where the network computes; what does not fit is computed each time.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: dict[tuple[torch.dtype, tuple[int, ...]], KeptTrunk] = {}
        self._shared: dict[str, Tensor] = {}
        self._bytes = 0

    def find(self, network: AdaptedNetwork, rows: Tensor) -> KeptTrunk | None:
        """Return what was kept of the batch of examples `rows` [b], if it is what `network` would compute."""
        if not network.trunk_is_settled or not _equal(network.shared_by_trunk(), self._shared):
            return None
        return self._kept.get(_key(network, rows))

    def keep(self, network: AdaptedNetwork, rows: Tensor, found: KeptTrunk) -> None:
        """Keep the trunk of a batch, if it is settled and there is room."""
        if not network.trunk_is_settled:
            return
        shared = network.shared_by_trunk()
        if not _equal(shared, self._shared):
            self._kept.clear()
            self._bytes, self._shared = 0, {name: value.clone() for name, value in shared.items()}
        if self._bytes + found.tokens.x.nbytes <= self.limit:
            self._kept[_key(network, rows)] = found
            self._bytes += found.tokens.x.nbytes


def _key(network: AdaptedNetwork, rows: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    return network.backbone.compute_dtype, tuple(rows.tolist())


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())

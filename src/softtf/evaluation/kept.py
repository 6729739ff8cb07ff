"""Trunk tokens of test inputs, kept between scorings: what no later task changes is computed once.

The tokens of a batch are used for exactly this batch again, so answers are the same bit for bit.
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
    """The trunks of a run's test batches, as far as the network declares its trunk settled.

    Where shared parameters edit the trunk (a G-prompt that is no longer trained), their values are part of the key: in
    another learner of the run, with other values, nothing is found.

    Args:
        limit: the most bytes of tokens on the network's device; a batch that does not fit is computed each time.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: dict[tuple[torch.dtype, tuple[int, ...]], KeptTrunk] = {}
        self._shared: dict[str, Tensor] = {}
        self._bytes = 0

    def find(self, network: AdaptedNetwork, rows: Tensor) -> KeptTrunk | None:
        """Return the trunk of the examples `rows` [b] if it equals what `network` would compute; else None."""
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

"""What every frozen backbone offers: embed -> blocks -> pool, and canonical names for the weights of a block."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.backbones.kernels import linear
from softtf.backbones.mixed_linear import MixedWeight, mixed_linear
from softtf.backbones.spec import BackboneSpec
from softtf.streams import Preparation


@dataclass(frozen=True)
class Tokens:
    """A batch of token sequences on its way through the blocks.

    x: [batch, tokens, dim]; mask: [batch, tokens], True where a token is real, or None where all are. read: how many
    leading tokens the pooling will read, None for all; the last block computes no others. at: [batch], the place of the
    only token that the pooling will read, where that differs between samples (the end of a text). query: q(x)
    [batch, dim] of the same inputs, for what is done with a trunk's tokens and depends on it. features: [batch, dim],
    what the pooling gives, where that was known without any token; x then has none.
    """

    x: Tensor
    mask: Tensor | None = None
    read: int | None = None
    at: Tensor | None = None
    query: Tensor | None = None
    features: Tensor | None = None

    @staticmethod
    def of_features(features: Tensor) -> "Tokens":
        """Return what stands for the tokens of inputs whose features [batch, dim] are known: no token at all."""
        return Tokens(features[:, None][:, :0], query=features, features=features)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice) -> "Tokens":
        parts = (self.mask, self.at, self.query, self.features)
        mask, at, query, features = (None if part is None else part[rows] for part in parts)
        return replace(self, x=self.x[rows], mask=mask, at=at, query=query, features=features)

    def prepend(self, prompt: Tensor) -> "Tokens":
        """Put tokens [batch, length, dim] before these; the pooling will then read them and no others."""
        length = prompt.shape[1]
        mask = None if self.mask is None else F.pad(self.mask, (length, 0), value=True)
        return Tokens(torch.cat([prompt.to(self.x.dtype), self.x], 1), mask, read=length)

    def append(self, prompt: Tensor) -> "Tokens":
        """Put tokens [batch, length, dim] behind these; the pooling goes on reading what it did, be it all tokens."""
        mask = None if self.mask is None else F.pad(self.mask, (0, prompt.shape[1]), value=True)
        return replace(self, x=torch.cat([self.x, prompt.to(self.x.dtype)], 1), mask=mask)

    @staticmethod
    def cat(parts: "Sequence[Tokens]") -> "Tokens":
        """Put batches behind one another; those of fewer tokens are padded."""
        masks = [part.mask for part in parts if part.mask is not None]
        places = [part.at for part in parts if part.at is not None]
        queries = [part.query for part in parts if part.query is not None]
        features = [part.features for part in parts if part.features is not None]
        lists = (_padded(masks), places, queries, features)
        mask, at, query, known = (torch.cat(values) if values else None for values in lists)
        x = torch.cat(_padded([part.x for part in parts]))
        return replace(parts[0], x=x, mask=mask, at=at, query=query, features=known)


def _padded(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors [batch, tokens, ...] with zeros (in a mask False) behind the tokens, all of one length."""
    longest = max((part.shape[1] for part in parts), default=0)
    return [F.pad(p, (0, 0) * (p.dim() - 2) + (0, longest - p.shape[1])) for p in parts]


@dataclass(frozen=True)
class BlockEdit:
    """What the adaptations change in one block.

    weights: canonical weight name -> the weight that stands in for the frozen one. prefix: extra keys and
    values [batch or 1, 2, length, dim] for the block's attention. after: canonical weight name -> what that layer's
    output [batch, tokens, out] goes through (an adapter). beside: canonical weight name -> what of that layer's input
    [batch, tokens, in] is added to its output.
    """

    weights: Mapping[str, Tensor | MixedWeight] = field(default_factory=dict)
    prefix: Tensor | None = None
    after: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    beside: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)


UNEDITED = BlockEdit()
ALL = slice(None)

_of_this_call: ContextVar[torch.dtype | None] = ContextVar("the type of matrix products", default=None)


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Run all backbones' matrix products in `dtype` meanwhile, in this thread alone: they may be shared by several."""
    before = _of_this_call.set(dtype)
    try:
        yield
    finally:
        _of_this_call.reset(before)


class Backbone(nn.Module, ABC):
    """A frozen pre-trained transformer, run block by block.

    Several classifiers, and threads, may share one: nothing of it changes while it computes. Copies of the frozen
    weights in the type of the matrix products are made once and kept.
    """

    name: str
    dim: int
    depth: int
    weight_names: tuple[str, ...]
    preparation: Preparation
    reads_text: bool = False  # True: inputs are token ids as `softtf.streams.texts` gives them
    revision: str | None = None  # the commit of the Hub that its weights are of
    spec: BackboneSpec | None = None  # what `load_backbone` was given, so that it can be loaded again

    def __init__(self) -> None:
        super().__init__()
        self._own_dtype = torch.float32
        self._cast: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor | None]] = {}

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of the matrix products; the residual stream stays in the weights' own type.

        It is that of the call at hand (`computing_in`); outside of one it is float32, or what was set here.
        """
        return _of_this_call.get() or self._own_dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype) -> None:
        self._own_dtype = dtype

    @property
    def leading_tokens(self) -> int:
        """How many tokens stand before those of an image's patches: [class] and registers."""
        return 1

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tokens:
        """Turn prepared inputs into tokens."""

    @abstractmethod
    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Run block `index` (from 0) with the adaptations' changes; the last one returns only the tokens to be read."""

    @abstractmethod
    def pool(self, tokens: Tokens) -> Tensor:
        """Return features [batch, dim] of the last block's output after the final norm.

        These are the mean of the tokens to be read: the [class] token alone, or prompts that were put before it.
        """

    @abstractmethod
    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Return the queries and values of block `index`'s attention, [batch, tokens, dim] each.

        These are what a prefix's keys and values meet there; the last block has queries of the tokens to be read only.
        """

    @abstractmethod
    def linear(self, block: int, name: str) -> nn.Linear:
        """Return the frozen linear layer of canonical name `name` in block `block`."""

    def run(self, tokens: Tokens, start: int, stop: int) -> Tokens:
        """Run blocks start..stop-1 untouched."""
        for index in range(start, stop):
            tokens = self.block(index, tokens)
        return tokens

    def apply_linear(self, x: Tensor, block: int, name: str, edit: BlockEdit, outputs: slice = ALL) -> Tensor:
        """Apply a linear layer of a block, or some of its outputs, with what `edit` puts in its place and after it."""
        weight, bias = self._frozen(self.linear(block, name))
        bias = bias if bias is None else bias[outputs]
        edited = edit.weights.get(name)
        if isinstance(edited, MixedWeight):
            out = mixed_linear(x, edited, bias, outputs)
        else:
            out = linear(x, (weight if edited is None else edited.to(self.compute_dtype))[outputs], bias)
        if name in edit.beside:
            out = out + edit.beside[name](x)[..., outputs]
        if name not in edit.after:
            return out
        assert outputs == ALL, f"what comes after {name} needs all its outputs"
        return edit.after[name](out)

    def _frozen(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Return (weight, bias) in the compute type, cast once."""
        dtype = self.compute_dtype
        if layer.weight.dtype == dtype:
            return layer.weight, layer.bias
        found = self._cast.get((id(layer), dtype))  # other threads may put it there, or take it away
        if found is None:
            bias = None if layer.bias is None else layer.bias.detach().to(dtype)
            found = self._cast[id(layer), dtype] = (layer.weight.detach().to(dtype), bias)
        return found

    def _apply(self, fn: Any, recurse: bool = True) -> "Backbone":
        self._cast.clear()  # copies made for another device or type are stale
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def weights_hash(self) -> str:
        """Return the SHA-256 of every frozen weight: name, type, shape and bytes."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

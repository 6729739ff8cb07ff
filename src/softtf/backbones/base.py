"""The interface of a frozen backbone: embed -> blocks -> pool, and canonical names for the weights of a block."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.backbones.kernels import linear
from softtf.backbones.mixed_linear import MixedWeight, mixed_linear
from softtf.backbones.segments import SegmentedWeight
from softtf.backbones.spec import BackboneSpec
from softtf.devices.within import Within
from softtf.errors import UserError
from softtf.files.reading import memory
from softtf.streams import Preparation


@dataclass(frozen=True)
class Tokens:
    """A batch of token sequences on its way through the blocks.

    Attributes:
        x: [batch, tokens, dim].
        mask: [batch, tokens], False for padding; None if there is no padding.
        read: how many leading tokens the pooling reads; None for all. The last block computes only these.
        at: [batch], the index of the one token that the pooling reads, if it differs between samples (the end of a
            text).
        query: q(x) [batch, dim] of the same inputs, for those who use a trunk's tokens and need it.
        features: [batch, dim], the result of the pooling if it is known without tokens; x then has no tokens.
    """

    x: Tensor
    mask: Tensor | None = None
    read: int | None = None
    at: Tensor | None = None
    query: Tensor | None = None
    features: Tensor | None = None

    @staticmethod
    def of_features(features: Tensor) -> "Tokens":
        """Return a batch without tokens, for inputs whose features [batch, dim] are known."""
        return Tokens(features[:, None][:, :0], query=features, features=features)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice) -> "Tokens":
        parts = (self.mask, self.at, self.query, self.features)
        mask, at, query, features = (None if part is None else part[rows] for part in parts)
        return replace(self, x=self.x[rows], mask=mask, at=at, query=query, features=features)

    def prepend(self, prompt: Tensor) -> "Tokens":
        """Put prompt tokens [batch, length, dim] before these; the pooling then reads the prompts only."""
        length = prompt.shape[1]
        mask = None if self.mask is None else F.pad(self.mask, (length, 0), value=True)
        return Tokens(torch.cat([prompt.to(self.x.dtype), self.x], 1), mask, read=length)

    def append(self, prompt: Tensor) -> "Tokens":
        """Put prompt tokens [batch, length, dim] after these; the pooling reads what it read before, or all tokens."""
        mask = None if self.mask is None else F.pad(self.mask, (0, prompt.shape[1]), value=True)
        return replace(self, x=torch.cat([self.x, prompt.to(self.x.dtype)], 1), mask=mask)

    @staticmethod
    def cat(parts: "Sequence[Tokens]") -> "Tokens":
        """Concatenate batches; those with fewer tokens are padded."""
        masks = [part.mask for part in parts if part.mask is not None]
        places = [part.at for part in parts if part.at is not None]
        queries = [part.query for part in parts if part.query is not None]
        features = [part.features for part in parts if part.features is not None]
        lists = (_padded(masks), places, queries, features)
        mask, at, query, known = (torch.cat(values) if values else None for values in lists)
        x = torch.cat(_padded([part.x for part in parts]))
        return replace(parts[0], x=x, mask=mask, at=at, query=query, features=known)


def _padded(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors [batch, tokens, ...] padded with zeros (False in a mask) to one number of tokens."""
    longest = max((part.shape[1] for part in parts), default=0)
    return [F.pad(p, (0, 0) * (p.dim() - 2) + (0, longest - p.shape[1])) for p in parts]


@dataclass(frozen=True)
class BlockEdit:
    """What the adaptations change in one block. The keys are canonical weight names.

    Attributes:
        weights: weights that replace the frozen ones.
        prefix: extra keys and values [batch or 1, 2, length, dim] for the block's attention.
        outputs: functions of a layer's input [batch, tokens, in] and output [batch, tokens, out]; their result replaces
            the output.
        gate: returns what is added to the scores [batch, heads, tokens, length] of the prefix's keys, given the scores.
    """

    weights: Mapping[str, Tensor | MixedWeight | SegmentedWeight] = field(default_factory=dict)
    prefix: Tensor | None = None
    outputs: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = field(default_factory=dict)
    gate: Callable[[Tensor], Tensor] | None = None


DEEPEST = 256
"""The most blocks of a backbone; the deepest that are published have some fifty."""
UNEDITED = BlockEdit()
ALL = slice(None)

_of_this_call: ContextVar[torch.dtype | None] = ContextVar("the type of matrix products", default=None)


class ComputingIn(Within[torch.dtype | None]):
    """A context in which all backbones' matrix products run in `dtype`, in this thread only."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(_of_this_call, dtype)


class Backbone(nn.Module, ABC):
    """A frozen pre-trained transformer that runs block by block.

    Classifiers and threads may share a backbone: it does not change while it computes. It makes a copy of the frozen
    weights in the type of the matrix products once and keeps it.
    """

    name: str
    dim: int
    depth: int
    weight_names: tuple[str, ...]
    preparation: Preparation
    reads_text: bool = False  # True: inputs are token ids as `softtf.streams.texts` gives them
    compiles: bool = False  # whether its blocks can be compiled (`softtf.backbones.compiling`)
    longest: int | None = None  # the most tokens of a text that it takes; None: those of its preparation
    revision: str | None = None  # the commit of its weights on the Hub
    spec: BackboneSpec | None = None  # given by `load_backbone`, to load it again

    def __init__(self) -> None:
        super().__init__()
        self._own_dtype = torch.float32
        self._cast: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor | None]] = {}

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of the matrix products; the residual stream keeps the type of the weights.

        `ComputingIn` sets it; outside of that it is float32, or the type that was assigned.
        """
        return _of_this_call.get() or self._own_dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype) -> None:
        self._own_dtype = dtype

    @property
    def leading_tokens(self) -> int:
        """The number of tokens before those of an image's patches: [class] and registers."""
        return 1

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tokens:
        """Turn prepared inputs into tokens."""

    @abstractmethod
    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Run block `index` (from 0) with the adaptations' edit; the last block returns only the tokens to be read."""

    @abstractmethod
    def pool(self, tokens: Tokens) -> Tensor:
        """Return features [batch, dim] of the last block's output after the final norm.

        They are the mean of the tokens to be read: the [class] token alone, or the prompts before it.
        """

    @abstractmethod
    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Return the queries and values of block `index`'s attention, [batch, tokens, dim] each.

        PGP needs them: the keys and values of a prefix meet them there. The last block has queries only for the tokens
        to be read.
        """

    def attention_weights(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tensor:
        """Return the attention of block `index`, [batch, heads, queries, keys]; rows sum to 1. Only pictures need it.

        The keys of a prefix come first. The last block has queries only for the tokens to be read.

        Raises:
            UserError: the backbone does not show it.
        """
        raise UserError(f"backbone {self.name!r} does not show its attention; those of images from timm and CLIP do")

    @abstractmethod
    def linear(self, block: int, name: str) -> nn.Linear:
        """Return the frozen linear layer with the canonical name `name` in block `block`."""

    def run(self, tokens: Tokens, start: int, stop: int) -> Tokens:
        """Run blocks start..stop-1 without edits."""
        for index in range(start, stop):
            tokens = self.block(index, tokens)
        return tokens

    def apply_linear(self, x: Tensor, block: int, name: str, edit: BlockEdit, outputs: slice = ALL) -> Tensor:
        """Apply a linear layer of a block, or the rows `outputs` of it, with the changes of `edit`."""
        if name not in edit.outputs:
            return self._product(x, block, name, edit, outputs)
        if outputs == ALL:
            return edit.outputs[name](x, self._product(x, block, name, edit, ALL))
        # The function reads and returns the whole output; in parts, so that those asked for are rounded as without it.
        rows = self.linear(block, name).out_features
        start, stop, _ = outputs.indices(rows)
        parts = [slice(first, last) for first, last in ((0, start), (start, stop), (stop, rows)) if first < last]
        y = torch.cat([self._product(x, block, name, edit, part) for part in parts], -1)
        return edit.outputs[name](x, y)[..., outputs]

    def _product(self, x: Tensor, block: int, name: str, edit: BlockEdit, outputs: slice) -> Tensor:
        weight, bias = self._frozen(self.linear(block, name))
        edited = edit.weights.get(name)
        if isinstance(edited, Tensor):
            weight = edited.to(self.compute_dtype)
        bias = bias if bias is None else bias[outputs]
        if isinstance(edited, MixedWeight):
            return mixed_linear(x, edited, bias, outputs)
        if isinstance(edited, SegmentedWeight):
            return edited.apply(x, bias, outputs)
        return linear(x, weight[outputs], bias)

    def weights_of(self, block: int, edit: BlockEdit) -> dict[str, tuple[Tensor, Tensor | None]] | None:
        """Return (weight, bias) of each linear layer of a block, in the compute type.

        None if these are not all that the edit changes in them.
        """
        if edit.outputs or not all(isinstance(weight, Tensor) for weight in edit.weights.values()):
            return None
        found = {name: self._frozen(self.linear(block, name)) for name in self.weight_names}
        edited = {name: weight.to(self.compute_dtype) for name, weight in edit.weights.items()}  # type: ignore[union-attr]
        return {name: (edited.get(name, weight), bias) for name, (weight, bias) in found.items()}

    def _frozen(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Return (weight, bias) in the compute type, cast once."""
        dtype = self.compute_dtype
        if layer.weight.dtype == dtype:
            return layer.weight, layer.bias
        found = self._cast.get((id(layer), dtype))  # other threads may add or remove it
        if found is None:
            bias = None if layer.bias is None else layer.bias.detach().to(dtype)
            found = self._cast[id(layer), dtype] = (layer.weight.detach().to(dtype), bias)
        return found

    def copies(self) -> list[tuple[Tensor, Tensor | None]]:
        """Return the copies of frozen weights and biases that were made so far in the types of matrix products."""
        return list(self._cast.values())

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


def check_fits(model: nn.Module, name: str) -> None:
    """Refuse a model, perhaps one that was built without memory, whose weights cannot fit into this machine's memory.

    Raises:
        UserError: in float32 the weights take more.
    """
    size, most = 4 * sum(weight.numel() for weight in model.parameters()), memory()
    if size > most:
        raise UserError(
            f"the weights of backbone {name!r} take {size / 2**30:,.1f} GiB, and this machine has"
            f" {most / 2**30:,.1f} GiB of memory; take a smaller one"
        )


def check_depth(blocks: Any, where: str) -> None:
    """Refuse a configuration with more than DEEPEST blocks: even without weights they take memory and time.

    Raises:
        UserError: `blocks` is such a number.
    """
    if isinstance(blocks, int | float) and blocks > DEEPEST:
        raise UserError(f"{where}: the model has {blocks:,} blocks; at most {DEEPEST} are built")

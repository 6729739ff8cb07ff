"""Features from several blocks of a frozen backbone instead of its last block only."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.backbones.random_inputs import random_inputs
from softtf.streams.images import ImagePreparation
from softtf.streams.texts import TextPreparation
from softtf.streams.views import ImageViews

EPS = 1e-6
LEAST_SPREAD = 1e-4
AT_ONCE = 50  # random inputs in a forward pass


class ReadBlocks(Backbone):
    """A backbone whose q(x) comes from the tokens after several of its blocks; a subclass says how.

    From outside it looks like a backbone without blocks: `embed` computes the features, and there is nothing to adapt.

    Args:
        inner: the frozen backbone.
        first: the first block that is read, counted from 0.
        embedded: whether the embedded tokens are read too.
    """

    weight_names = ()
    depth = 0

    def __init__(self, inner: Backbone, first: int, embedded: bool = False) -> None:
        super().__init__()
        self.inner, self.first, self.embedded = inner, first, embedded
        self.name, self.spec, self.revision = inner.name, inner.spec, inner.revision
        self.reads_text, self.preparation = inner.reads_text, inner.preparation
        self.blocks_read = inner.depth - first + embedded

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of the inner backbone's matrix products."""
        return self.inner.compute_dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype) -> None:
        self.inner.compute_dtype = dtype

    def weights_hash(self) -> str:
        """Return the hash of the inner backbone; there are no other weights."""
        return self.inner.weights_hash()

    def embed(self, inputs: Tensor) -> Tokens:
        """Return the features, without tokens."""
        return Tokens.of_features(torch.cat(self._read(inputs, range(self.first, self.inner.depth)), 1))

    def _read(self, inputs: Tensor, blocks: range) -> list[Tensor]:
        """Return the features of one view [batch, ...] after each of some blocks; no later block is run."""
        pool = self._text if self.reads_text else self._image
        return [pool(tokens) for tokens in self._outputs(inputs, blocks)]

    def _outputs(self, inputs: Tensor, blocks: range) -> Iterator[Tokens]:
        """Yield all tokens after each of some blocks; the embedded tokens come first."""
        tokens = replace(self.inner.embed(inputs), read=None, at=None)
        if self.embedded:
            yield tokens
        for index in range(blocks.stop):
            tokens = self.inner.block(index, tokens)
            if index >= blocks.start:
                yield tokens

    @abstractmethod
    def _image(self, tokens: Tokens) -> Tensor:
        """Return the features of an image's tokens after one block."""

    def _text(self, tokens: Tokens) -> Tensor:
        if tokens.mask is None:
            return tokens.x.mean(1)
        real = tokens.mask[..., None]
        return (tokens.x * real).sum(1) / real.sum(1)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the features [batch, dim] that `embed` computed."""
        assert tokens.features is not None
        return tokens.features

    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Never called: there are no blocks outside."""
        raise AssertionError("the features of several blocks have no block to adapt")

    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Never called, like `block`."""
        raise AssertionError("the features of several blocks have no block to adapt")

    def linear(self, block: int, name: str) -> torch.nn.Linear:
        """Never called, like `block`."""
        raise AssertionError("the features of several blocks have no block to adapt")


class BlockFeatures(ReadBlocks):
    """A backbone whose q(x) comes from several of its blocks and views, with one forward pass per view.

    For an image, each block of the last third gives its [class] token and the mean and standard deviation of its
    patches' tokens, after a layer norm without affine parameters. Short views are read from as many blocks, but a sixth
    of the depth earlier, and run no further. For a text, each block and the embedding give the mean of the tokens.

    Args:
        inner: the frozen backbone.
        views: the number of views of an image (`ImageViews`), each with its own forward pass; a text has one view.
        reach: how many times `max_tokens` of a text are read, within what the backbone takes.
        short_views: whether the views after the first are short.
    """

    def __init__(self, inner: Backbone, views: int = 1, reach: int = 1, short_views: bool = False) -> None:
        first = 0 if inner.reads_text else inner.depth - -(-inner.depth // 3)
        super().__init__(inner, first, embedded=inner.reads_text)
        self.views = 1
        if isinstance(inner.preparation, ImagePreparation):
            self.views, self.preparation = views, ImageViews.of(inner.preparation, views)
        elif isinstance(texts := inner.preparation, TextPreparation) and inner.longest is not None:
            self.preparation = texts.reaching(min(reach * texts.max_tokens, inner.longest))
        pools = 1 if self.reads_text else 2 + (inner.leading_tokens > 0)
        self.view_dim = self.blocks_read * pools * inner.dim
        self.dim = self.views * self.view_dim
        self.early = inner.depth // 6 if short_views and self.views > 1 else 0

    def embed(self, inputs: Tensor) -> Tokens:
        """Return the features, without tokens; an image without views [batch, 3, size, size] stands for all views."""
        usual, *others = inputs.unbind(1) if inputs.dim() == 5 else [inputs] * self.views
        read = self._read(usual, range(self.first, self.inner.depth))
        for view in others:
            read += self._read(view, range(self.first - self.early, self.inner.depth - self.early))
        return Tokens.of_features(torch.cat(read, 1))

    def _image(self, tokens: Tokens) -> Tensor:
        x = F.layer_norm(tokens.x, tokens.x.shape[-1:], eps=EPS)
        leading = self.inner.leading_tokens
        patches = x[:, leading:]
        mean = patches.mean(1)
        spread = (patches - mean[:, None]).square().mean(1).sqrt()  # `Tensor.std` takes twenty times as long
        return torch.cat([*x[:, : min(leading, 1)].unbind(1), mean, spread], 1)

    @torch.no_grad()
    def usual_range(self) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation [range_dim] of the features of random inputs, on the CPU.

        They are those of one view. If the others are short, those of a short view follow.
        """
        device = next(self.inner.parameters()).device
        blocks = range(self.first - self.early, self.inner.depth)
        parts = [torch.cat(self._read(x.to(device), blocks), 1).cpu() for x in random_inputs(self.inner).split(AT_ONCE)]
        read = torch.cat(parts)
        if self.early:
            read = torch.cat([read[:, -self.view_dim :], read[:, : self.view_dim]], 1)
        spread, mean = torch.std_mean(read, 0)
        return mean, spread.clamp_min(LEAST_SPREAD)

    def for_all_views(self, values: Tensor) -> Tensor:
        """Return what `usual_range` gives [range_dim] for the features of all views [dim]."""
        first, others = values[: self.view_dim], values[-self.view_dim :]
        return torch.cat([first, *[others] * (self.views - 1)])

    @property
    def range_dim(self) -> int:
        """The dimension of what `usual_range` returns."""
        return (1 + (self.early > 0)) * self.view_dim


class LastTokens(ReadBlocks):
    """A backbone whose q(x) is the unnormalised [class] token after each of its last blocks.

    For a text, and for a ViT without a [class] token, it is the mean of the tokens.

    Args:
        inner: the frozen backbone.
        count: the number of blocks to read; all, if there are fewer.
    """

    def __init__(self, inner: Backbone, count: int) -> None:
        super().__init__(inner, max(0, inner.depth - count))
        self.dim = self.blocks_read * inner.dim

    def _image(self, tokens: Tokens) -> Tensor:
        return tokens.x[:, 0] if self.inner.leading_tokens else tokens.x.mean(1)

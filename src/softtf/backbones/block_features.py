"""Features of several blocks of a frozen backbone, in place of those of its last block alone."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.backbones.drawn_inputs import drawn_inputs
from softtf.streams.images import ImagePreparation
from softtf.streams.views import ImageViews

EPS = 1e-6
LEAST_SPREAD = 1e-4
AT_ONCE = 50  # drawn inputs


class BlockFeatures(Backbone):
    """A backbone whose q(x) is made of several of its blocks, in one forward pass a view.

    Of an image: from each block of the last third, after a layer norm of each token without affine, the [class] token
    and the mean and standard deviation of the patches' tokens. Of a text: the mean of its tokens after each block, and
    of the embedded ones.

    To all around it, it is a backbone of no blocks: `embed` computes the features, and there is nothing to adapt.

    Args:
        inner: the frozen backbone.
        views: how many views of an image are read (`ImageViews`), each by a pass of its own; of a text there is one.
    """

    weight_names = ()
    depth = 0

    def __init__(self, inner: Backbone, views: int = 1) -> None:
        super().__init__()
        self.inner = inner
        self.name, self.spec, self.revision = inner.name, inner.spec, inner.revision
        self.reads_text = inner.reads_text
        self.first = 0 if self.reads_text else inner.depth - -(-inner.depth // 3)
        self.views, self.preparation = 1, inner.preparation
        if isinstance(inner.preparation, ImagePreparation):
            self.views, self.preparation = views, ImageViews.of(inner.preparation, views)
        pools = 1 if self.reads_text else 2 + (inner.leading_tokens > 0)
        blocks = inner.depth - self.first + self.reads_text
        self.view_dim = blocks * pools * inner.dim
        self.dim = self.views * self.view_dim

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of the matrix products: the inner backbone's."""
        return self.inner.compute_dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype) -> None:
        self.inner.compute_dtype = dtype

    def weights_hash(self) -> str:
        """Return the inner backbone's: there are no other weights."""
        return self.inner.weights_hash()

    def embed(self, inputs: Tensor) -> Tokens:
        """Return no token but the features; an image without views [batch, 3, size, size] stands for all of them."""
        views = inputs.unbind(1) if inputs.dim() == 5 else [inputs]
        features = torch.cat([self._read(view) for view in views], 1)
        return Tokens.of_features(features.repeat(1, self.views // len(views)))

    def _read(self, inputs: Tensor) -> Tensor:
        """Return the features [batch, view_dim] of one view."""
        pool = self._text if self.reads_text else self._image
        return torch.cat([pool(tokens) for tokens in self._outputs(inputs)], 1)

    def _outputs(self, inputs: Tensor) -> Iterator[Tokens]:
        """Yield all tokens after each block that is read; of a text also the embedded ones."""
        tokens = replace(self.inner.embed(inputs), read=None, at=None)
        if self.reads_text:
            yield tokens
        for index in range(self.inner.depth):
            tokens = self.inner.block(index, tokens)
            if index >= self.first:
                yield tokens

    def _image(self, tokens: Tokens) -> Tensor:
        x = F.layer_norm(tokens.x, tokens.x.shape[-1:], eps=EPS)
        leading = self.inner.leading_tokens
        patches = x[:, leading:]
        return torch.cat([*x[:, : min(leading, 1)].unbind(1), patches.mean(1), patches.std(1, correction=0)], 1)

    def _text(self, tokens: Tokens) -> Tensor:
        if tokens.mask is None:
            return tokens.x.mean(1)
        real = tokens.mask[..., None]
        return (tokens.x * real).sum(1) / real.sum(1)

    @torch.no_grad()
    def usual_range(self) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation [view_dim] of the features of drawn inputs, on the CPU."""
        device = next(self.inner.parameters()).device
        parts = [self._read(part.to(device)).cpu() for part in drawn_inputs(self.inner).split(AT_ONCE)]
        spread, mean = torch.std_mean(torch.cat(parts), 0)
        return mean, spread.clamp_min(LEAST_SPREAD)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the features [batch, dim] that `embed` found."""
        assert tokens.features is not None
        return tokens.features

    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Never called: there is no block to be run from outside."""
        raise AssertionError("the features of several blocks have no block to adapt")

    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Never called, as `block`."""
        raise AssertionError("the features of several blocks have no block to adapt")

    def linear(self, block: int, name: str) -> torch.nn.Linear:
        """Never called, as `block`."""
        raise AssertionError("the features of several blocks have no block to adapt")

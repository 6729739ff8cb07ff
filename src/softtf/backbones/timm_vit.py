"""Plain Vision Transformers of timm, run block by block on their frozen weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from timm.layers import Attention, Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from softtf.backbones.attention import attention, attention_weights, split_heads
from softtf.backbones.base import ALL, UNEDITED, Backbone, BlockEdit, Tokens
from softtf.backbones.compiling import compiled, is_compiling
from softtf.backbones.kernels import linear
from softtf.errors import UserError
from softtf.streams.images import ImagePreparation

Apply = Callable[..., Tensor]
"""Applies a block's linear layer: x, its name, and which of its rows (all)."""
Types = tuple[torch.dtype, torch.dtype]
"""Of the weights and the residual stream, and of the matrix products."""


class TimmViT(Backbone):
    """A timm `VisionTransformer` of ordinary blocks. Inputs are images [batch, 3, size, size] in [0, 1].

    Args:
        vit: the model; its classifier is not used.
        name: the name to print and to save.
        mean: the mean of each channel, subtracted from the images.
        std: the standard deviation of each channel, by which they are divided.

    Raises:
        UserError: the model has other blocks (Swin, parallel blocks, gated attention, ...).
    """

    weight_names = ("qkv", "proj", "fc1", "fc2")
    compiles = True
    mean: Tensor
    std: Tensor

    def __init__(self, vit: VisionTransformer, name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        check_plain(vit, name)
        self.vit = vit.eval().requires_grad_(False)
        self.name = name
        self.dim = vit.embed_dim
        self.depth = len(vit.blocks)
        self.image_size = int(vit.patch_embed.img_size[0])
        self.preparation = ImagePreparation(self.image_size)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def leading_tokens(self) -> int:
        """The number of tokens before those of the patches: [class] and registers, or none."""
        return int(self.vit.num_prefix_tokens)

    def embed(self, inputs: Tensor) -> Tokens:
        """Normalise images, cut them into patches, add [class] and positions: [batch, 1 + patches, dim]."""
        images = (inputs.to(self.mean.dtype) - self.mean) / self.std
        x = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(images)))
        return Tokens(x, read=1 if self.vit.global_pool == "token" else None)

    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Run block `index`: x + ls1(attention(norm1 x)), then x + ls2(mlp(norm2 x))."""
        block, read = self.vit.blocks[index], self._read(index, tokens)
        if is_compiling() and edit.gate is None and (weights := self.weights_of(index, edit)) is not None:
            given = (weights, edit.prefix, tokens.mask, read, self._types)
            return replace(tokens, x=compiled(_block_of_weights)(block, tokens.x, *given))
        apply = partial(self._applied, index, edit)
        return replace(tokens, x=_block(block, tokens.x, apply, edit.prefix, tokens.mask, read, self._types, edit.gate))

    def _qkv(self, tokens: Tokens, index: int, edit: BlockEdit) -> tuple[Tensor, Tensor, Tensor]:
        apply = partial(self._applied, index, edit)
        return _qkv(self.vit.blocks[index], tokens.x, apply, self._read(index, tokens), self._types)

    def _applied(self, index: int, edit: BlockEdit, x: Tensor, name: str, outputs: slice = ALL) -> Tensor:
        return self.apply_linear(x, index, name, edit, outputs)

    def _read(self, index: int, tokens: Tokens) -> int | None:
        """Return how many tokens a block must compute; None for all. Of the last one only those to be read matter."""
        return tokens.read if index == self.depth - 1 else None

    @property
    def _types(self) -> Types:
        return self.mean.dtype, self.compute_dtype

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean [batch, dim] of the tokens to be read ([class] or prompts), or timm's pooling of all."""
        x = self.vit.norm(tokens.x)
        pooled = self.vit.pool(x) if tokens.read is None else x[:, : tokens.read].mean(1)
        features: Tensor = self.vit.fc_norm(pooled)
        return features

    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Return the queries and values of block `index`'s attention, [batch, tokens, dim] each."""
        q, _, v = self._qkv(tokens, index, edit)
        return q.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)

    def attention_weights(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tensor:
        """Return the attention of block `index`, [batch, heads, queries, keys]."""
        q, k, _ = self._qkv(tokens, index, edit)
        return attention_weights(q, k, edit.prefix, tokens.mask, gate=edit.gate)

    def linear(self, block: int, name: str) -> nn.Linear:
        """Return the frozen layer `qkv`, `proj`, `fc1` or `fc2` of a block."""
        module = self.vit.blocks[block]
        layer = getattr(module.attn if name in ("qkv", "proj") else module.mlp, name)
        assert isinstance(layer, nn.Linear)
        return layer


def _block(
    block: Any,
    x: Tensor,
    apply: Apply,
    prefix: Tensor | None,
    mask: Tensor | None,
    read: int | None,
    types: Types,
    gate: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the output of a block for x [batch, tokens, dim]; `read`: of so many tokens only."""
    q, k, v = _qkv(block, x, apply, read, types)
    h = attention(q, k, v, prefix, mask, gate=gate)
    x = x[:, : h.shape[1]] + block.ls1(apply(h, "proj"))
    h = apply(_normed(block.norm2, x, types), "fc1")
    out: Tensor = x + block.ls2(apply(block.mlp.act(h), "fc2"))
    return out


def _block_of_weights(
    block: Any,
    x: Tensor,
    weights: Mapping[str, tuple[Tensor, Tensor | None]],
    prefix: Tensor | None,
    mask: Tensor | None,
    read: int | None,
    types: Types,
) -> Tensor:
    """Return `_block` with the given weights and biases of its linear layers."""

    def apply(x: Tensor, name: str, outputs: slice = ALL) -> Tensor:
        weight, bias = weights[name]
        return linear(x, weight[outputs], bias if bias is None else bias[outputs])

    return _block(block, x, apply, prefix, mask, read, types)


def _qkv(block: Any, x: Tensor, apply: Apply, read: int | None, types: Types) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (of `read` tokens), keys and values, [batch, heads, tokens, d]."""
    attn, dim = block.attn, x.shape[-1]
    x = _normed(block.norm1, x, types)
    if read is None:
        parts = apply(x, "qkv").chunk(3, -1)
    else:
        query = apply(x[:, :read], "qkv", slice(0, dim))
        parts = (query, *apply(x, "qkv", slice(dim, None)).chunk(2, -1))
    q, k, v = (split_heads(part, attn.num_heads) for part in parts)
    if not isinstance(attn.q_norm, nn.Identity):
        q, k = _normed(attn.q_norm, q, types), _normed(attn.k_norm, k, types)
    return q, k, v


def _normed(norm: nn.Module, x: Tensor, types: Types) -> Tensor:
    weights, products = types
    out: Tensor = norm(x.to(weights))
    return out.to(products)


def check_plain(vit: Any, name: str) -> None:
    """Refuse a model that `TimmViT.block` would compute wrongly; raises UserError."""
    if type(vit) is not VisionTransformer:
        raise UserError(f"backbone {name!r} is a {type(vit).__name__}, not a plain Vision Transformer of timm")
    for block in vit.blocks:
        attn: Any = getattr(block, "attn", None)
        mlp: Any = getattr(block, "mlp", None)
        plain = type(block) is Block and type(attn) is Attention and type(mlp) is Mlp
        if not plain or attn.gate is not None or not all(isinstance(m, nn.Identity) for m in (attn.norm, mlp.norm)):
            raise UserError(f"backbone {name!r} has other blocks than a plain Vision Transformer; choose another")
    if vit.attn_pool is not None or vit.patch_embed.img_size is None:
        raise UserError(f"backbone {name!r} pools by attention or has no fixed image size; choose another")

"""Plain Vision Transformers of timm, run block by block on their frozen weights."""

from dataclasses import replace
from typing import Any

import torch
from timm.layers import Attention, Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from softtf.backbones.attention import attention, attention_weights, split_heads
from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.errors import UserError
from softtf.streams.images import ImagePreparation


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
        block = self.vit.blocks[index]
        q, k, v = self._qkv(tokens, index, edit)
        h = attention(q, k, v, edit.prefix, tokens.mask, gate=edit.gate)
        x = tokens.x[:, : h.shape[1]] + block.ls1(self.apply_linear(h, index, "proj", edit))
        h = self.apply_linear(self._norm(block.norm2, x), index, "fc1", edit)
        x = x + block.ls2(self.apply_linear(block.mlp.act(h), index, "fc2", edit))
        return replace(tokens, x=x)

    def _qkv(self, tokens: Tokens, index: int, edit: BlockEdit) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (in the last block for the tokens to be read), keys and values, [batch, heads, tokens, d]."""
        attn = self.vit.blocks[index].attn
        x = self._norm(self.vit.blocks[index].norm1, tokens.x)
        if tokens.read is None or index < self.depth - 1:
            parts = self.apply_linear(x, index, "qkv", edit).chunk(3, -1)
        else:
            query = self.apply_linear(x[:, : tokens.read], index, "qkv", edit, slice(0, self.dim))
            parts = (query, *self.apply_linear(x, index, "qkv", edit, slice(self.dim, None)).chunk(2, -1))
        q, k, v = (split_heads(part, attn.num_heads) for part in parts)
        if not isinstance(attn.q_norm, nn.Identity):
            q, k = self._norm(attn.q_norm, q), self._norm(attn.k_norm, k)
        return q, k, v

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

    def _norm(self, norm: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = norm(x.to(self.mean.dtype))
        return out.to(self.compute_dtype)


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

"""CLIP (Radford et al., 2021) of transformers: an image tower that holds a text tower, both run block by block.

Each tower is a backbone with the same weight names, so masks, prompts, LoRA and adapters attach to either. Features are
those before the projection, as wide as the tokens, which CLIP's own linear probes read too. `project` maps them into
the space that the towers share. CLIP's logits are exp(logit_scale) cos(image, text).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.backbones.attention import attention, attention_weights, split_heads
from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.errors import UserError
from softtf.streams.images import ImagePreparation

Tokenize = Callable[[list[str]], list[list[int]]]
"""Turns texts into token ids: each text between a start and an end token, without padding or truncation."""

ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "proj": "out_proj"}


def byte_ids(texts: list[str], start: int, end: int) -> list[list[int]]:
    """Return texts as their bytes between two tokens: a tokenizer for models with random weights."""
    return [[start, *text.encode(), end] for text in texts]


class ClipTower(Backbone):
    """The base of both towers: pre-norm blocks, a final norm on the token that is read, a projection without bias.

    Args:
        layers: transformers' `CLIPEncoderLayer`s.
        norm: the final norm.
        projection: the projection into the space that the towers share.
        name: the name to print and to save.
    """

    weight_names = ("query", "key", "value", "proj", "fc1", "fc2")
    causal = False

    def __init__(self, layers: nn.ModuleList, norm: nn.Module, projection: nn.Linear, name: str) -> None:
        super().__init__()
        self.layers, self.norm, self.projection = layers, norm, projection
        self.name, self.depth, self.dim = name, len(layers), projection.in_features

    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Run block `index`: x + attention(norm1 x), then x + mlp(norm2 x)."""
        layer: Any = self.layers[index]
        q, k, v = self._qkv(tokens, index, edit)
        h = attention(q, k, v, edit.prefix, tokens.mask, self.causal, edit.gate)
        x = tokens.x[:, : h.shape[1]] + self.apply_linear(h, index, "proj", edit)
        h = self.apply_linear(self._normed(layer.layer_norm2, x), index, "fc1", edit)
        x = x + self.apply_linear(layer.mlp.activation_fn(h), index, "fc2", edit)
        return replace(tokens, x=x)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean [batch, dim] of the tokens to be read ([class], the end token, prompts) after the norm."""
        if tokens.at is not None:
            read = tokens.x[torch.arange(len(tokens), device=tokens.x.device), tokens.at]
            return self.norm(read)  # type: ignore[no-any-return]
        return self.norm(tokens.x[:, : tokens.read]).mean(1)  # type: ignore[no-any-return]

    def project(self, features: Tensor) -> Tensor:
        """Return the projection of features [batch, dim] into the space that the towers share, [batch, shared dim]."""
        return F.linear(features, self.projection.weight.to(features.dtype))

    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Return the queries and values of block `index`'s attention, [batch, tokens, dim] each."""
        q, _, v = self._qkv(tokens, index, edit)
        return q.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)

    def attention_weights(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tensor:
        """Return the attention of block `index`, [batch, heads, queries, keys]."""
        q, k, _ = self._qkv(tokens, index, edit)
        return attention_weights(q, k, edit.prefix, tokens.mask, self.causal, edit.gate)

    def linear(self, block: int, name: str) -> nn.Linear:
        """Return the frozen layer `query`, `key`, `value`, `proj`, `fc1` or `fc2` of a block."""
        layer: Any = self.layers[block]
        found = getattr(layer.self_attn, ATTENTION[name]) if name in ATTENTION else getattr(layer.mlp, name)
        assert isinstance(found, nn.Linear)
        return found

    def _qkv(self, tokens: Tokens, index: int, edit: BlockEdit) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (in the last block for the tokens to be read), keys and values [batch, heads, n, d]."""
        layer: Any = self.layers[index]
        x = self._normed(layer.layer_norm1, tokens.x)
        read = tokens.read if index == self.depth - 1 else None
        parts = (x[:, :read], x, x)
        q, k, v = (
            split_heads(self.apply_linear(part, index, name, edit), layer.self_attn.num_heads)
            for part, name in zip(parts, ("query", "key", "value"), strict=True)
        )
        return q, k, v

    def _normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = norm(x.to(self.projection.weight.dtype))
        return out.to(self.compute_dtype)


class ClipText(ClipTower):
    """The text tower. Inputs are token ids [batch, tokens]; the pooling reads the end token, and padding may follow it.

    Args:
        model: the text model of a transformers CLIP.
        projection: its text projection.
        tokenize: its tokenizer.
        name: the name to print.
    """

    causal = True

    def __init__(self, model: Any, projection: nn.Linear, tokenize: Tokenize, name: str) -> None:
        super().__init__(model.encoder.layers, model.final_layer_norm, projection, name)
        self.embeddings = model.embeddings
        self.tokenize = tokenize
        self.longest: int = int(model.config.max_position_embeddings)
        marks = tokenize([""])[0]
        if len(marks) < 2:
            raise UserError(f"{name!r} needs a tokenizer that puts a start and an end token round each text")
        self.end_id = marks[-1]  # a configuration may name another one

    def ids(self, texts: Sequence[str], prompts: int = 0) -> Tensor:
        """Return the token ids [texts, tokens] of texts, padded with the end token.

        Args:
            texts: one text or more.
            prompts: how many prompt tokens each text will get in addition.

        Raises:
            UserError: a text cannot be read, contains the end token, or has more tokens than the model has positions.
        """
        for text in texts:
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise UserError(f"{text!r} is not text: a part of it is not UTF-8")
        found = self.tokenize(list(texts))
        for text, ids in zip(texts, found, strict=True):
            if self.end_id in ids[:-1]:
                raise UserError(f"{text!r} contains the model's end token, and nothing after it is read; leave it out")
            if len(ids) + prompts > self.longest:
                raise UserError(
                    f"{text!r} has {len(ids)} tokens and its prompt {prompts}; {self.name!r} reads"
                    f" {self.longest} at most"
                )
        width = max(map(len, found))
        return torch.tensor([ids + ids[-1:] * (width - len(ids)) for ids in found])

    def embed(self, inputs: Tensor, prompts: Tensor | None = None) -> Tokens:
        """Turn ids [batch, n] into tokens with positions; prompts [batch, m, dim] come after the start token."""
        inputs = inputs.to(self.projection.weight.device)
        x = self.embeddings.token_embedding(inputs)
        at = (inputs != self.end_id).cumprod(1).sum(1)  # the index of the end token
        if prompts is not None:
            x = torch.cat([x[:, :1], prompts.to(x.dtype), x[:, 1:]], 1)
            at = at + prompts.shape[1]
        return Tokens(x + self.embeddings.position_embedding.weight[: x.shape[1]], at=at)


class ClipImage(ClipTower):
    """The image tower, which holds `text` and `logit_scale`. Inputs are images [batch, 3, size, size] in [0, 1].

    Args:
        clip: transformers' `CLIPModel`.
        tokenize: its tokenizer.
        name: the name to print and to save.
        mean: the mean of each channel, subtracted from the images.
        std: the standard deviation of each channel, by which they are divided.
        resize: the short side of a test image before the centre crop; None is the input size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        clip: Any,
        tokenize: Tokenize,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        resize: int | None = None,
    ) -> None:
        clip = clip.eval().requires_grad_(False)
        vision = clip.vision_model
        super().__init__(vision.encoder.layers, vision.post_layernorm, clip.visual_projection, name)
        self.embeddings, self.first_norm = vision.embeddings, vision.pre_layrnorm
        self.text = ClipText(clip.text_model, clip.text_projection, tokenize, f"{name}, text tower")
        self.logit_scale = clip.logit_scale
        self.image_size = int(vision.config.image_size)
        self.preparation = ImagePreparation(self.image_size, resize or self.image_size)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def embed(self, inputs: Tensor) -> Tokens:
        """Return the embedded tokens after the first norm, [batch, 1 + patches, dim]."""
        return Tokens(self.normed(self.unnormed(inputs)), read=1)

    def unnormed(self, inputs: Tensor) -> Tensor:
        """Normalise images, cut them into patches, add [class] and positions: [batch, 1 + patches, dim]."""
        images = (inputs.to(self.mean.dtype) - self.mean) / self.std
        tokens: Tensor = self.embeddings(images)
        return tokens

    def normed(self, tokens: Tensor) -> Tensor:
        """Return tokens [..., dim] after the first norm."""
        found: Tensor = self.first_norm(tokens.to(self.mean.dtype))
        return found

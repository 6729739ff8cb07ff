"""Encoders of BERT's family, run block by block on their frozen weights.

They are post-norm: x becomes norm(x + attention(x)), then norm(x + mlp(x)). There is no norm after the last block.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from softtf.backbones.attention import attention, split_heads
from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.errors import UserError
from softtf.streams.texts import TextPreparation

Pooled = Literal["cls", "pooler", "mean"]


@dataclass(frozen=True)
class Layer:
    """The parts of one block under canonical names."""

    linears: dict[str, nn.Linear]
    attention_norm: nn.Module
    mlp_norm: nn.Module
    activation: Any


class Bert(Backbone):
    """BERT, RoBERTa, ELECTRA, DistilBERT and similar encoders.

    Inputs are token ids [batch, tokens], int64. Shorter texts are padded with -1. Padding changes nothing: no query
    attends to it, and no mean includes it.

    Args:
        model: the model of transformers, without a head.
        name: the name to print and to save.
        preparation: holds the model's tokenizer.
        pooling: how a text's feature is computed (`BackboneSpec.pooling`); with `cls` and `pooler` the last block
            computes the first token only.

    Raises:
        UserError: the model has another form, or fewer positions than the preparation has tokens.
    """

    weight_names = ("query", "key", "value", "proj", "fc1", "fc2")
    reads_text = True

    def __init__(self, model: Any, name: str, preparation: TextPreparation, pooling: Pooled) -> None:
        super().__init__()
        check_form(model.config, name)
        model = model.eval().requires_grad_(False)
        self.name, self.preparation, self.pooling, self.config = name, preparation, pooling, model.config
        self.embeddings: Any = model.embeddings
        self.project: nn.Module = getattr(model, "embeddings_project", nn.Identity())
        self.blocks = model.transformer.layer if model.config.model_type == "distilbert" else model.encoder.layer
        self.pooler: Any = model.pooler if pooling == "pooler" else None
        self.layers = [_layer(block) for block in self.blocks]
        self.dim: int = model.config.hidden_size
        self.depth = len(self.blocks)
        self.heads: int = model.config.num_attention_heads
        self.pad: int = model.config.pad_token_id or 0
        positions = self.embeddings.position_embeddings
        unused = 0 if positions.padding_idx is None else positions.padding_idx + 1
        self.longest: int = positions.num_embeddings - unused
        if (tokens := preparation.max_tokens) > self.longest:
            raise UserError(f"backbone {name!r} takes at most {self.longest} tokens; max_tokens is {tokens}")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of the residual stream."""
        weight: Tensor = self.embeddings.word_embeddings.weight
        return weight.dtype

    def embed(self, inputs: Tensor) -> Tokens:
        """Return the embeddings of tokens and positions: [batch, tokens, dim]."""
        mask = inputs >= 0
        x = self.project(self.embeddings(input_ids=inputs.where(mask, self.pad)))
        return Tokens(x, mask, read=None if self.pooling == "mean" else 1)

    def block(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> Tokens:
        """Run block `index`: norm(x + attention(x)), then norm(x + mlp(x))."""
        layer = self.layers[index]
        q, k, v = self._qkv(tokens, index, edit)
        h = attention(q, k, v, edit.prefix, tokens.mask, gate=edit.gate)
        x = layer.attention_norm(tokens.x[:, : h.shape[1]] + self.apply_linear(h, index, "proj", edit))
        h = layer.activation(self.apply_linear(x.to(self.compute_dtype), index, "fc1", edit))
        return replace(tokens, x=layer.mlp_norm(x + self.apply_linear(h, index, "fc2", edit)))

    def _qkv(self, tokens: Tokens, index: int, edit: BlockEdit) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (in the last block for the tokens to be read), keys and values, [batch, heads, tokens, d]."""
        x = tokens.x.to(self.compute_dtype)
        read = x if tokens.read is None or index < self.depth - 1 else x[:, : tokens.read]
        parts = zip(("query", "key", "value"), (read, x, x), strict=True)
        q, k, v = (split_heads(self.apply_linear(part, index, name, edit), self.heads) for name, part in parts)
        return q, k, v

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean [batch, dim] of the tokens to be read: the first, the prompts, or all but the padding."""
        if tokens.read is not None:
            pooled = tokens.x[:, : tokens.read].mean(1)
        else:
            assert tokens.mask is not None
            real = tokens.mask[..., None]
            pooled = (tokens.x * real).sum(1) / real.sum(1)
        return pooled if self.pooler is None else self.pooler.activation(self.pooler.dense(pooled))

    def queries_and_values(self, index: int, tokens: Tokens, edit: BlockEdit = UNEDITED) -> tuple[Tensor, Tensor]:
        """Return the queries and values of block `index`'s attention, [batch, tokens, dim] each."""
        q, _, v = self._qkv(tokens, index, edit)
        return q.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)

    def linear(self, block: int, name: str) -> nn.Linear:
        """Return the frozen layer `query`, `key`, `value`, `proj`, `fc1` or `fc2` of a block."""
        return self.layers[block].linears[name]


def check_form(config: Any, name: str) -> None:
    """Refuse a model that `Bert.block` would compute wrongly; raises UserError."""
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise UserError(f"backbone {name!r} has {config.position_embedding_type!r} positions, not absolute ones")
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise UserError(f"backbone {name!r} is a decoder, not an encoder")


def _layer(block: Any) -> Layer:
    if hasattr(block, "ffn"):  # DistilBERT's names
        attn, mlp = block.attention, block.ffn
        linears = (attn.q_lin, attn.k_lin, attn.v_lin, attn.out_lin, mlp.lin1, mlp.lin2)
        norms, activation = (block.sa_layer_norm, block.output_layer_norm), mlp.activation
    else:
        attn, out = block.attention.self, block.attention.output
        linears = (attn.query, attn.key, attn.value, out.dense, block.intermediate.dense, block.output.dense)
        norms, activation = (out.LayerNorm, block.output.LayerNorm), block.intermediate.intermediate_act_fn
    return Layer(dict(zip(Bert.weight_names, linears, strict=True)), *norms, activation)

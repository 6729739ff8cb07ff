"""Attention with optional prefix keys and values, on the fastest kernel for the device."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Turn [batch, tokens, dim] into [batch, heads, tokens, dim/heads]."""
    batch, tokens, dim = x.shape
    return x.view(batch, tokens, heads, dim // heads).transpose(1, 2)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix: Tensor | None,
    mask: Tensor | None,
    causal: bool = False,
    gate: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return softmax(q [p_K; k]^T / sqrt(d)) [p_V; v] as [batch, tokens, dim].

    Args:
        q: queries [batch, heads, tokens, d].
        k: keys [batch, heads, tokens, d].
        v: values [batch, heads, tokens, d].
        prefix: [batch or 1, 2, length, heads*d], keys then values (DualPrompt's prefix-tuning, METHOD section 3).
        mask: [batch, tokens], False for padding, which is no key.
        causal: a token attends to the prefix and to no later token.
        gate: returns what is added to the scores [batch, heads, tokens, length] of the prefix's keys, given the scores.
    """
    bias = None
    if prefix is not None:
        length = prefix.shape[2]
        k, v = _after_prefix(prefix[:, 0], k), _after_prefix(prefix[:, 1], v)
        bias = _gated(q, k, length, gate)
    attend = _attended(q, k, mask, causal)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # The fused kernel takes two to four times as long as plain products here (docs/performance.md).
        scores = _products(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
        if bias is not None:
            scores = scores + bias
        if attend is not None:
            scores = scores.masked_fill(~attend, float("-inf"))
        out = _products(scores.softmax(-1), v)
    else:
        if bias is not None:
            attend = bias if attend is None else bias.masked_fill(~attend, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)
    return out.transpose(1, 2).flatten(2)


def attention_weights(
    q: Tensor,
    k: Tensor,
    prefix: Tensor | None,
    mask: Tensor | None,
    causal: bool = False,
    gate: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return softmax(q [p_K; k]^T / sqrt(d)), [batch, heads, queries, length + tokens]; arguments as `attention`."""
    bias = None
    if prefix is not None:
        k = _after_prefix(prefix[:, 0], k)
        bias = _gated(q, k, prefix.shape[2], gate)
    scores: Tensor = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    if (attend := _attended(q, k, mask, causal)) is not None:
        scores = scores.masked_fill(~attend, float("-inf"))
    return scores.softmax(-1)


def _gated(q: Tensor, k: Tensor, length: int, gate: Callable[[Tensor], Tensor] | None) -> Tensor | None:
    """Return what a gate adds to all scores: its values for the first `length` keys, zero for the others."""
    if gate is None:
        return None
    return F.pad(gate(q @ k[:, :, :length].mT * q.shape[-1] ** -0.5), (0, k.shape[2] - length))


def _after_prefix(prefix: Tensor, x: Tensor) -> Tensor:
    """Return keys or values [batch, heads, tokens, d] behind those of a prefix [batch or 1, length, heads*d]."""
    return torch.cat([split_heads(prefix, x.shape[1]).to(x.dtype).expand(x.shape[0], -1, -1, -1), x], 2)


def _attended(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """Return which keys, including a prefix's, each query attends to, [batch or 1, 1, ...]; None for all."""
    attend = None if mask is None else F.pad(mask, (k.shape[2] - mask.shape[1], 0), value=True)[:, None, None, :]
    if causal:
        earlier = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
        attend = earlier if attend is None else attend & earlier
    return attend


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b over batch and heads, through contiguous copies: strided products are slow on a CPU."""
    out = torch.bmm(a.flatten(0, 1), b.flatten(0, 1))
    return out.view(*a.shape[:2], *out.shape[1:])

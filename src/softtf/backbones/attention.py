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
        gate: what is added to the scores [batch, heads, tokens, length] of the prefix's keys, of those scores.
    """
    batch, heads, _, d = q.shape
    bias = None
    if prefix is not None:
        p_k, p_v = (split_heads(p, heads).to(k.dtype).expand(batch, -1, -1, -1) for p in prefix.unbind(1))
        if gate is not None:
            bias = F.pad(gate(q @ p_k.mT * d**-0.5), (0, k.shape[2]))
        k, v = torch.cat([p_k, k], 2), torch.cat([p_v, v], 2)
        if mask is not None:
            mask = F.pad(mask, (p_k.shape[2], 0), value=True)
    attend = None if mask is None else mask[:, None, None, :]
    if causal:
        earlier = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
        attend = earlier if attend is None else attend & earlier
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # The fused kernel takes two to four times as long as plain products here (docs/performance.md).
        scores = _products(q * d**-0.5, k.transpose(-2, -1))
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


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b over batch and heads, through contiguous copies: strided products are slow on a CPU."""
    out = torch.bmm(a.flatten(0, 1), b.flatten(0, 1))
    return out.view(*a.shape[:2], *out.shape[1:])

"""The attention kernel against softmax written out, with prefix and mask, for each kind of number."""

import pytest
import torch

from softtf.backbones.attention import attention, attention_weights, split_heads
from support.tiny import noise


def slow(q, k, v, prefix, mask):
    """[batch, heads, tokens, d] -> [batch, tokens, heads * d], one sample, head and query at a time."""
    batch, heads, tokens, d = q.shape
    out = torch.zeros(batch, tokens, heads * d, dtype=q.dtype)
    for b in range(batch):
        for h in range(heads):
            keys = [k[b, h, j] for j in range(tokens) if mask is None or mask[b, j]]
            values = [v[b, h, j] for j in range(tokens) if mask is None or mask[b, j]]
            if prefix is not None:
                own = prefix[b if len(prefix) > 1 else 0][:, :, h * d : (h + 1) * d]
                keys, values = [*own[0], *keys], [*own[1], *values]
            for i in range(tokens):
                share = torch.stack([q[b, h, i] @ key / d**0.5 for key in keys]).softmax(0)
                out[b, i, h * d : (h + 1) * d] = share @ torch.stack(values)
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("prefixes", [0, 1, 3])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_equals_softmax_written_out(masked: bool, prefixes: int, dtype: torch.dtype, close: float) -> None:
    q, k, v = noise(3, 3, 2, 5, 4).unbind(0)
    prefix = noise(prefixes, 2, 3, 8, seed=2) if prefixes else None
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool() if masked else None
    found = attention(q.to(dtype), k.to(dtype), v.to(dtype), prefix, mask)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), slow(q, k, v, prefix, mask), rtol=0, atol=close)


def test_a_head_owns_neighbouring_columns() -> None:
    x = noise(2, 3, 8)
    heads = split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert all(torch.equal(heads[:, h], x[:, :, 2 * h : 2 * h + 2]) for h in range(4))


def test_causal_attention_is_that_of_each_token_over_the_prefix_and_those_before_it() -> None:
    q, k, v = (noise(2, 3, 5, 4, seed=s) for s in range(3))
    prefix = noise(2, 2, 2, 12, seed=4)
    found = attention(q, k, v, prefix, None, causal=True)
    for place in range(5):
        before = slice(0, place + 1)
        alone = attention(q[:, :, place : place + 1], k[:, :, before], v[:, :, before], prefix, None)
        torch.testing.assert_close(found[:, place : place + 1], alone)
    low = [x.bfloat16() for x in (q, k, v)]
    torch.testing.assert_close(attention(*low, prefix, None, causal=True).double(), found, rtol=0, atol=0.05)


@pytest.mark.parametrize("prefixes", [0, 1, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_are_those_by_which_values_are_mixed(prefixes: int, masked: bool, causal: bool) -> None:
    q, k, v = (noise(2, 3, 5, 4, seed=s) for s in range(3))
    prefix = noise(prefixes, 2, 3, 12, seed=4) if prefixes else None
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2]) if masked else None
    weights = attention_weights(q, k, prefix, mask, causal)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5, dtype=weights.dtype))
    values = v if prefix is None else torch.cat([split_heads(prefix[:, 1], 3).expand(2, -1, -1, -1), v], 2)
    torch.testing.assert_close((weights @ values).transpose(1, 2).flatten(2), attention(q, k, v, prefix, mask, causal))

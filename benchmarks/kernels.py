"""The products that all is made of, with their gradients: softtf's choice of kernel against PyTorch's default."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.results import Result, Row
from benchmarks.setup import Setup
from benchmarks.timing import Call, in_turns, matrix_rate
from softtf.backbones.attention import attention
from softtf.backbones.kernels import linear

PREFIX = 5  # tokens


def measure(setup: Setup) -> Iterator[Result]:
    """Measure a linear layer (D to 4D) and attention on a batch's tokens, in each type."""
    backbone, batch = setup.load(), setup.batches[0]
    blank = torch.zeros(1, 3, *backbone.vit.patch_embed.img_size, device=setup.device)
    tokens, dim, heads = backbone.embed(blank).x.shape[1], backbone.dim, backbone.vit.blocks[0].attn.num_heads
    for dtype in (torch.float32, torch.bfloat16):
        where = f"{setup.title}, batch {batch}, {str(dtype).removeprefix('torch.')}"
        works = {
            "a linear layer": (linears, 3 * tokens * 4 * dim**2),
            "attention": (attentions, 6 * tokens * (tokens + PREFIX) * dim),
        }
        for name, (calls_of, count) in works.items():
            calls = calls_of(torch.empty(batch, tokens, dim, device=setup.device, dtype=dtype), heads)
            times = in_turns(calls, setup.device, setup.seconds / 4, setup.rounds)
            floor = batch * count / matrix_rate(dtype, setup.device)
            yield Row(f"{name} and its gradients, {where}", times["ours"], times["twin"], floor)


def linears(like: Tensor, heads: int) -> dict[str, Call]:
    """Return a linear layer's passes over tokens of the shape and type of `like` [batch, tokens, dim]."""
    dim = like.shape[2]
    x, weight = random(like, *like.shape), random(like, 4 * dim, dim)
    return {"ours": both_ways(lambda: linear(x, weight)), "twin": both_ways(lambda: F.linear(x, weight))}


def attentions(like: Tensor, heads: int) -> dict[str, Call]:
    """Return attention's passes; PyTorch's own has no prefix to put before, which is to its advantage."""
    batch, tokens, dim = like.shape
    q, k, v = (random(like, batch, heads, tokens, dim // heads) for _ in range(3))
    prefix = random(like, 1, 2, PREFIX, dim)
    return {
        "ours": both_ways(lambda: attention(q, k, v, prefix, None)),
        "twin": both_ways(lambda: F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)),
    }


def random(like: Tensor, *shape: int) -> Tensor:
    """Return noise that wants a gradient."""
    return torch.randn(shape, device=like.device).to(like.dtype).requires_grad_()


def both_ways(forward: Callable[[], Tensor]) -> Call:
    """Return a forward and a backward pass."""

    def call() -> None:
        out = forward()
        out.backward(torch.ones_like(out))

    return call

"""A linear layer under a mixture of per-task weights, whose backward gives each sample its own gradient.

The mixture network has the weight W(alpha) = sum_j alpha_j W_j (METHOD section 2; for soft masks
W_j = W * m_j). Every sample uses the same alpha, so the forward is one matrix product; but alpha is given
once per sample, [batch, tasks], so that autograd returns dH_x/dalpha_j for each sample x:

    dH_x/dalpha_j = <G_x, W_j>,   G_x = sum over tokens of (output gradient)(input)^T

One G_x per layer and sample, and the number of tasks enters only through the inner products. The W_j are made when
they are needed, a few tasks at a time, so that memory does not grow with the number of tasks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.kernels import linear

GRADIENT_BYTES = 2**28  # samples are cut so that their G_x stay below this: each cut makes every W_j once more
COMPONENTS = 10  # so many W_j are held at once: further ones would make memory grow with the number of tasks


class Workspace:
    """Buffers that one backward after the other writes into: fresh memory costs a CPU more than its use."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Return the buffer of this name, of the type and device of `like`, with any content [*shape]."""
        size = math.prod(shape)
        held = self.buffers.get((name, like.dtype))
        if held is None or held.numel() < size:
            self.buffers[name, like.dtype] = held = like.new_empty(size)
        return held[:size].view(shape)


@dataclass(frozen=True)
class MixedWeight:
    """A mixture of weights.

    alpha: [batch, tasks], rows equal and on the simplex; component: task -> its weight [out, in]; workspace: memory for
    the backward, to be shared by all mixtures of one pass.
    """

    alpha: Tensor
    component: Callable[[int], Tensor]
    workspace: Workspace = field(default_factory=Workspace)


class _MixedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, mixed: MixedWeight, outputs: slice) -> Tensor:
        weight = _mixture(mixed)[outputs].to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.mixed, ctx.outputs = mixed, outputs
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad_x = linear(grad, weight.T) if ctx.needs_input_grad[0] else None
        grad_alpha = None
        if ctx.needs_input_grad[1]:
            grad_alpha = _inner_products(grad, x, ctx.mixed, ctx.outputs)
        return grad_x, grad_alpha, None, None


def _mixture(mixed: MixedWeight) -> Tensor:
    """Return sum_j alpha_j W_j [out, in], adding one task at a time."""
    total = mixed.component(0) * mixed.alpha[0, 0]
    for task in range(1, mixed.alpha.shape[1]):
        total.addcmul_(mixed.component(task), mixed.alpha[0, task])
    return total


def _inner_products(grad: Tensor, x: Tensor, mixed: MixedWeight, outputs: slice) -> Tensor:
    """Return <G_x, W_j> [batch, tasks]; grad [batch, tokens, out], x [batch, tokens, in]."""
    first = mixed.component(0)[outputs]
    tasks, samples, size = mixed.alpha.shape[1], len(x), first.numel() * first.element_size()
    some, many = max(1, GRADIENT_BYTES // size), COMPONENTS
    products = first.new_empty(tasks, samples)
    gradients = mixed.workspace.take("gradients", x, min(some, samples), *first.shape)
    weights = mixed.workspace.take("weights", first, min(many, tasks), first.numel())
    for rows in (slice(n, min(n + some, samples)) for n in range(0, samples, some)):
        formed = torch.bmm(grad[rows].transpose(1, 2), x[rows], out=gradients[: rows.stop - rows.start])
        # Tasks differ by little, so the inner products keep the components' own precision.
        flat = formed.flatten(1).to(first.dtype).T
        for chosen in (range(t, min(t + many, tasks)) for t in range(0, tasks, many)):
            for place, task in enumerate(chosen):
                weights[place] = mixed.component(task)[outputs].flatten()
            products[chosen.start : chosen.stop, rows] = weights[: len(chosen)] @ flat
    return products.T


def mixed_linear(x: Tensor, mixed: MixedWeight, bias: Tensor | None, outputs: slice = slice(None)) -> Tensor:
    """Apply W(alpha) (its rows `outputs`) to x [batch, tokens, in]; gradients reach x and each row of alpha."""
    out: Tensor = _MixedLinear.apply(x, mixed.alpha, mixed, outputs)
    return out if bias is None else out + bias

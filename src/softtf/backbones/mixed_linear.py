"""A linear layer under a mixture of per-task weights, whose backward gives each sample its own gradient.

The mixture network has the weight W(alpha) = sum_j alpha_j W_j (METHOD section 2; for soft masks
W_j = W * m_j). Every sample uses the same alpha, so the forward is one matrix product; but alpha is given
once per sample, [batch, tasks], so that autograd returns dH_x/dalpha_j for each sample x:

    dH_x/dalpha_j = <G_x, W_j>,   G_x = sum over tokens of (output gradient)(input)^T

One G_x per layer and sample, and the number of tasks enters only through the inner products. The W_j are made when
they are needed, a few tasks at a time, so that memory does not grow with the number of tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.kernels import linear, outer_products

GRADIENT_BYTES = 2**28  # chunk the samples so that their G_x stay below this
COMPONENT_BYTES = 2**26  # and the tasks so that their W_j do


@dataclass(frozen=True)
class MixedWeight:
    """A mixture of weights.

    alpha: [batch, tasks], rows equal and on the simplex; component: task -> its weight [out, in].
    """

    alpha: Tensor
    component: Callable[[int], Tensor]


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
            step = max(1, GRADIENT_BYTES // (weight.numel() * 4))
            parts = zip(grad.split(step), x.split(step), strict=True)
            grad_alpha = torch.cat([_inner_products(outer_products(g, a), ctx.mixed, ctx.outputs) for g, a in parts])
        return grad_x, grad_alpha, None, None


def _mixture(mixed: MixedWeight) -> Tensor:
    """Return sum_j alpha_j W_j [out, in], adding one task at a time."""
    total = mixed.component(0) * mixed.alpha[0, 0]
    for task in range(1, mixed.alpha.shape[1]):
        total.addcmul_(mixed.component(task), mixed.alpha[0, task])
    return total


def _inner_products(gradients: Tensor, mixed: MixedWeight, outputs: slice) -> Tensor:
    """Return <G_x, W_j> [batch, tasks] of G_x [batch, out, in], a few tasks at a time."""
    tasks = range(mixed.alpha.shape[1])
    first = mixed.component(0)
    step = max(1, COMPONENT_BYTES // (first.numel() * first.element_size()))
    # Tasks differ by little, so the inner products keep the components' own precision.
    flat = gradients.flatten(1).to(first.dtype).T
    block = first.new_empty(min(step, len(tasks)), *gradients.shape[1:])
    parts = []
    for some in (tasks[t : t + step] for t in range(0, len(tasks), step)):
        for place, task in enumerate(some):
            block[place] = mixed.component(task)[outputs]
        parts.append(block[: len(some)].flatten(1) @ flat)
    return torch.cat(parts).T


def mixed_linear(x: Tensor, mixed: MixedWeight, bias: Tensor | None, outputs: slice = slice(None)) -> Tensor:
    """Apply W(alpha) (its rows `outputs`) to x [batch, tokens, in]; gradients reach x and each row of alpha."""
    out: Tensor = _MixedLinear.apply(x, mixed.alpha, mixed, outputs)
    return out if bias is None else out + bias

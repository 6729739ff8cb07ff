"""A linear layer under a mixture of per-task weights, whose backward gives each sample its own gradient.

The mixture network has the weight W(alpha) = sum_j alpha_j W_j (METHOD section 2; for soft masks
W_j = W * m_j). Every sample uses the same alpha, so the forward is one matrix product; but alpha is given
once per sample, [batch, tasks], so that autograd returns dH_x/dalpha_j for each sample x:

    dH_x/dalpha_j = <G_x, W_j>,   G_x = sum over tokens of (output gradient)(input)^T

One G_x per layer and sample, and the number of tasks enters only through the inner products.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.kernels import linear

MAX_GRADIENT_BYTES = 2**28  # chunk the samples so that their G_x stay below this


@dataclass(frozen=True)
class MixedWeight:
    """A mixture of weights.

    alpha: [batch, tasks], rows equal and on the simplex; components: [tasks, out, in], one weight a task.
    """

    alpha: Tensor
    components: Tensor


class _MixedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, components: Tensor) -> Tensor:
        weight = torch.einsum("t,toi->oi", alpha[0].to(components.dtype), components).to(x.dtype)
        ctx.save_for_backward(x, weight, components)
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, components = ctx.saved_tensors
        grad_x = linear(grad, weight.T) if ctx.needs_input_grad[0] else None
        grad_alpha = None
        if ctx.needs_input_grad[1]:
            # Tasks differ by little, so the inner products keep the components' own precision.
            flat = components.flatten(1)
            step = max(1, MAX_GRADIENT_BYTES // (weight.numel() * components.element_size()))
            parts = [
                linear(torch.bmm(g.transpose(1, 2), a).flatten(1).to(flat.dtype), flat)
                for g, a in zip(grad.split(step), x.split(step), strict=True)
            ]
            grad_alpha = torch.cat(parts)
        return grad_x, grad_alpha, None


def mixed_linear(x: Tensor, mixed: MixedWeight, bias: Tensor | None) -> Tensor:
    """Apply W(alpha) to x [batch, tokens, in]; gradients reach x and each row of alpha, not the components."""
    out: Tensor = _MixedLinear.apply(x, mixed.alpha, mixed.components)
    return out if bias is None else out + bias

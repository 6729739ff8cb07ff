"""A linear layer under a mixture of per-task weights, whose backward gives each sample its own gradient.

The mixture network has the weight W(alpha) = sum_j alpha_j W_j (METHOD section 2; for soft masks
W_j = W * m_j). Every sample uses the same alpha, so the forward is one matrix product; but alpha is given
once per sample, [batch, tasks], so that autograd returns dH_x/dalpha_j for each sample x:

    dH_x/dalpha_j = <G_x, W_j>,   G_x = sum over tokens of (output gradient)(input)^T

One G_x per layer and sample, and the number of tasks enters only through the inner products. The W_j are made when
they are needed, a few tasks at a time, so that memory does not grow with the number of tasks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.kernels import linear

CHUNK_BYTES = 2**28  # chunk samples and tasks so that their G_x, and their W_j, stay below this


@dataclass(frozen=True)
class MixedWeight:
    """A mixture of weights.

    alpha: [batch, tasks], rows equal and on the simplex; component: task -> its weight [out, in].
    """

    alpha: Tensor
    component: Callable[[int], Tensor]


class _MixedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, components: "_Components") -> Tensor:
        weight = components.mixed(alpha[0]).to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.components = components
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad_x = linear(grad, weight.T) if ctx.needs_input_grad[0] else None
        grad_alpha = None
        if ctx.needs_input_grad[1]:
            step = max(1, CHUNK_BYTES // (weight.numel() * 4))
            parts = zip(grad.split(step), x.split(step), strict=True)
            grad_alpha = torch.cat([ctx.components.products(torch.bmm(g.transpose(1, 2), a)) for g, a in parts])
        return grad_x, grad_alpha, None


class _Components:
    """The rows `outputs` of every task's weight, made in blocks [some tasks, out, in] of bounded size."""

    def __init__(self, mixed: MixedWeight, outputs: slice) -> None:
        self.component, self.outputs = mixed.component, outputs
        first, tasks = self._weight(0), mixed.alpha.shape[1]
        step = max(1, CHUNK_BYTES // (first.numel() * 4))
        self.ranges = [range(t, min(t + step, tasks)) for t in range(0, tasks, step)]
        self.kept = [self._stack(tasks) for tasks in self.ranges] if len(self.ranges) == 1 else None

    def _weight(self, task: int) -> Tensor:
        return self.component(task)[self.outputs]

    def _stack(self, tasks: range) -> Tensor:
        return torch.stack([self._weight(t) for t in tasks])

    def _blocks(self) -> Iterable[Tensor]:
        return self.kept or map(self._stack, self.ranges)

    def mixed(self, alpha: Tensor) -> Tensor:
        """Return sum_j alpha_j W_j [out, in]."""
        shares = (alpha[tasks.start : tasks.stop] for tasks in self.ranges)
        parts = [torch.einsum("t,toi->oi", a.to(b.dtype), b) for a, b in zip(shares, self._blocks(), strict=True)]
        return torch.stack(parts).sum(0)

    def products(self, gradients: Tensor) -> Tensor:
        """Return <G_x, W_j> [batch, tasks] of G_x [batch, out, in]."""
        # Tasks differ by little, so the inner products keep the components' own precision.
        flat = gradients.flatten(1)
        return torch.cat([linear(flat.to(block.dtype), block.flatten(1)) for block in self._blocks()], 1)


def mixed_linear(x: Tensor, mixed: MixedWeight, bias: Tensor | None, outputs: slice = slice(None)) -> Tensor:
    """Apply W(alpha) (its rows `outputs`) to x [batch, tokens, in]; gradients reach x and each row of alpha."""
    out: Tensor = _MixedLinear.apply(x, mixed.alpha, _Components(mixed, outputs))
    return out if bias is None else out + bias

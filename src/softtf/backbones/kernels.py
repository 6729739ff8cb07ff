"""Matrix products on the fastest kernel, with the same results up to rounding.

float32 on a CPU: PyTorch's default BLAS is several times slower than oneDNN on some processors (AMD's), so oneDNN
is called by its operator. Everything else is `F.linear`. Measured in docs/performance.md.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b for x [..., in], weight [out, in]; differentiable in all three."""
    if _by_onednn(x, weight):
        out: Tensor = _OneDnnLinear.apply(x, weight, bias)
        return out
    return F.linear(x, weight, bias)


def linear_each(x: Tensor, weights: Tensor) -> Tensor:
    """Return x_i W_i^T [n, rows, out] for x [n, rows, in], weights [n, out, in]."""
    if _by_onednn(x, weights):
        return torch.stack([linear(rows, weight) for rows, weight in zip(x, weights, strict=True)])
    return torch.bmm(x, weights.transpose(1, 2))


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    fits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    return ONEDNN and fits and not torch.compiler.is_compiling()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b by oneDNN, without a gradient."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight.contiguous(), bias, "none", [], "")
    return out


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            _product(grad, weight.T) if need_x else None,
            _product(rows.T, x.flatten(0, -2).T) if need_weight else None,
            rows.sum(0) if need_bias else None,
        )

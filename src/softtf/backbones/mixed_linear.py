"""A linear layer under a mixture of per-task weights, whose backward gives each sample its own gradient.

The mixture network has the weight W(alpha) = sum_j alpha_j W_j (METHOD section 2; for soft masks W_j = W * m_j). Every
sample uses the same alpha, so the forward pass is one matrix product. But alpha has a row for each sample,
[batch, tasks], so that autograd returns dH_x/dalpha_j for each sample x:

    dH_x/dalpha_j = <G_x, W_j>,   G_x = sum over tokens of (output gradient)(input)^T

There is one G_x for each layer and sample; the number of tasks enters only through the inner products. A few rows of
the matrix are done at a time. Their G_x and W_j are made, used while they are in the CPU's cache, and dropped, so that
memory does not grow with the number of tasks.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.answering import once
from softtf.backbones.kernels import linear, linear_each

BLOCK = 2**24  # entries of a matrix that are done at a time
CPU_BLOCK = 2**18
GRADIENT_BYTES = 2**30  # the most bytes of the rows of G_x that are held at once: all W_j are made anew for the next
CPU_GRADIENT_BYTES = 2**27
COMPONENTS = 10  # the W_j that are held at once: with all of them, memory would grow with the number of tasks


@dataclass(frozen=True)
class MixedWeight:
    """A mixture of weights.

    Attributes:
        alpha: [batch, tasks], equal rows on the simplex.
        shape: the shape of a weight, (out, in).
        component: returns the given rows of the given task's weight.
        among: [batch, k], the tasks for which each sample's gradient is wanted; None for all.
        kept: the owner and the name under which W(alpha) is made once for all batches; None to make it for each.
    """

    alpha: Tensor
    shape: torch.Size
    component: Callable[[int, slice], Tensor]
    among: Tensor | None = None
    kept: tuple[Hashable, Hashable] | None = None

    def blocks(self, outputs: slice) -> Iterator[slice]:
        """Cut the rows `outputs` into runs of at most BLOCK (on a CPU CPU_BLOCK) entries, but of at least one row."""
        start, stop, _ = outputs.indices(self.shape[0])
        step = max(1, (CPU_BLOCK if self.alpha.device.type == "cpu" else BLOCK) // self.shape[1])
        return runs(start, stop, step)


def runs(start: int, stop: int, step: int) -> Iterator[slice]:
    """Cut start ... stop into runs of `step`; the last one may be shorter."""
    return (slice(n, min(n + step, stop)) for n in range(start, stop, step))


class _MixedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, mixed: MixedWeight, outputs: slice) -> Tensor:
        weight = _kept_mixture(mixed, outputs).to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.mixed, ctx.outputs = mixed, outputs
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad_x = linear(grad, weight.T) if ctx.needs_input_grad[0] else None
        grad_alpha = None
        if ctx.needs_input_grad[1]:
            of = _inner_products if ctx.mixed.among is None else _inner_products_among
            grad_alpha = of(grad, x, ctx.mixed, ctx.outputs)
        return grad_x, grad_alpha, None, None


def _kept_mixture(mixed: MixedWeight, outputs: slice) -> Tensor:
    """Return `_mixture`, made once for all batches where it is kept."""
    if mixed.kept is None:
        return _mixture(mixed, outputs)
    owner, name = mixed.kept
    return once(owner, (name, outputs.start, outputs.stop, mixed.alpha.dtype), lambda: _mixture(mixed, outputs))


def _mixture(mixed: MixedWeight, outputs: slice) -> Tensor:
    """Return the rows `outputs` of sum_j alpha_j W_j, adding one task at a time."""
    parts = []
    for rows in mixed.blocks(outputs):
        total = mixed.component(0, rows) * mixed.alpha[0, 0]
        for task in range(1, mixed.alpha.shape[1]):
            total.addcmul_(mixed.component(task, rows), mixed.alpha[0, task])
        parts.append(total)
    return torch.cat(parts)


def _inner_products(grad: Tensor, x: Tensor, mixed: MixedWeight, outputs: slice) -> Tensor:
    """Return <G_x, W_j> [batch, tasks]; grad [batch, tokens, out], x [batch, tokens, in]."""
    tasks = mixed.alpha.shape[1]
    products = torch.zeros_like(mixed.alpha)
    for rows, part, formed in _formed(grad, x, mixed, outputs):
        weights = formed.new_empty(min(COMPONENTS, tasks), formed.shape[1])
        for chosen in runs(0, tasks, COMPONENTS):
            for place, task in enumerate(range(chosen.start, chosen.stop)):
                weights[place] = mixed.component(task, rows).flatten()
            products[part, chosen] += linear(formed, weights[: chosen.stop - chosen.start])
    return products


def _inner_products_among(grad: Tensor, x: Tensor, mixed: MixedWeight, outputs: slice) -> Tensor:
    """Return `_inner_products` for the k tasks of each sample, and 0 for the others; no other W_j is made."""
    assert mixed.among is not None
    products = torch.zeros_like(mixed.alpha)
    wanted = torch.zeros_like(products, dtype=torch.bool).scatter_(1, mixed.among, True)
    for rows, part, formed in _formed(grad, x, mixed, outputs):
        for task in wanted[part].any(0).nonzero()[:, 0].tolist():
            those = wanted[part, task].nonzero()[:, 0]
            weight = mixed.component(task, rows).flatten().to(formed)
            products[part.start + those, task] += formed[those] @ weight
    return products


def _formed(grad: Tensor, x: Tensor, mixed: MixedWeight, outputs: slice) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield rows of the matrix, some samples, and these rows of their G_x, flat [samples, entries].

    The tasks' weights differ little, so the inner products keep the precision of alpha.
    """
    first, _, _ = outputs.indices(mixed.shape[0])
    across = x.transpose(1, 2).contiguous()  # once for all rows of the matrix
    most = CPU_GRADIENT_BYTES if x.device.type == "cpu" else GRADIENT_BYTES
    for rows in mixed.blocks(outputs):
        entries = (rows.stop - rows.start) * mixed.shape[1]
        for part in runs(0, len(mixed.alpha), max(1, most // (4 * entries))):
            deltas = grad[part, :, rows.start - first : rows.stop - first]
            yield rows, part, linear_each(deltas.transpose(1, 2), across[part]).flatten(1).to(mixed.alpha.dtype)


def mixed_linear(x: Tensor, mixed: MixedWeight, bias: Tensor | None, outputs: slice = slice(None)) -> Tensor:
    """Apply the rows `outputs` of W(alpha) to x [batch, tokens, in]; x and each row of alpha get gradients."""
    out: Tensor = _MixedLinear.apply(x, mixed.alpha, mixed, outputs)
    return out if bias is None else out + bias

"""Gradient projection: the space that earlier tasks used, and gradients kept out of it (PGP; Qiao et al., 2024).

After each task the rows r that the prompts met, and the prompts' own rows, give the second moment

    C = mean r^T r over inputs + mean p^T p over prompts,        [dim, dim],

each set by its mean, so that a few prompts count as much as many tokens. Its leading directions are those of
the rows' singular value decomposition, its eigenvalues the squared singular values. As in gradient projection
memory (Saha et al., 2021), the basis V [dim, k] of earlier tasks is extended by the leading directions of what it
leaves over, (I - V V^T) C (I - V V^T), until both together hold the share eps of the spectrum, trace C. From then
on a prompt's gradient [..., dim] is g - g V V^T.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.errors import UserError

ROUNDING = 1e-6  # of the spectrum: a basis is kept in float32, and a share that only rounding misses is reached


@dataclass(frozen=True)
class Projection:
    """Keep the prompts' gradients out of the space that earlier tasks used (PGP).

    Attributes:
        eps: the share of the spectrum that is kept out; 0.5 in the published runs.
        samples: how many training examples of each task span the space.
    """

    eps: float = 0.5
    samples: int = 768

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and 0 < self.eps <= 1):
            raise UserError(f"projection eps must be above 0 and at most 1, not {self.eps}")
        if self.samples < 1:
            raise UserError(f"projection samples must be at least 1, not {self.samples}")


class SecondMoment:
    """The mean of r^T r over rows that come batch by batch."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.rows = 0

    def add(self, rows: Tensor) -> "SecondMoment":
        """Count rows [..., dim] in."""
        flat = rows.detach().flatten(0, -2)
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))  # not every device has float64
        self.total = self.total + (flat.T @ flat).cpu().double()
        self.rows += len(flat)
        return self

    @property
    def mean(self) -> Tensor:
        """The mean [dim, dim], float64 on the CPU."""
        assert isinstance(self.total, Tensor)
        return self.total / self.rows


def extended(basis: Tensor | None, moment: Tensor, eps: float) -> Tensor:
    """Return the basis with the leading directions that it lacks of the share `eps` of a spectrum.

    Args:
        basis: [dim, k], orthonormal columns; None for none yet.
        moment: C [dim, dim], float64 on the CPU.
        eps: the share of trace C that the new basis holds.

    Returns:
        [dim, k or more], float32 on the CPU, orthonormal columns; `basis` itself where it holds the share already.
    """
    kept = moment.new_zeros(len(moment), 0) if basis is None else basis.to(moment)
    outside = torch.eye(len(moment), dtype=moment.dtype) - kept @ kept.T
    values, vectors = torch.linalg.eigh(outside @ moment @ outside)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    missing = eps * moment.trace() - (moment.trace() - values.sum())
    held = torch.cat([values.new_zeros(1), values.cumsum(0)])  # by the first 0, 1, ... directions
    more = int((held < missing - ROUNDING * moment.trace()).sum())
    if basis is not None and not more:
        return basis
    orthonormal: Tensor = torch.linalg.qr(torch.cat([kept, vectors[:, :more]], 1)).Q
    return orthonormal.float().contiguous()  # as it is read from a file, so that products round alike


def projected(gradient: Tensor, basis: Tensor) -> Tensor:
    """Return g - g V V^T of a gradient [..., dim] and a basis V [dim, k]."""
    basis = basis.to(gradient)
    return gradient - gradient @ basis @ basis.T

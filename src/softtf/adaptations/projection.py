"""Gradient projection: gradients are projected out of the space that earlier tasks used (PGP; Qiao et al., 2024).

After each task, the rows r that the prompts met and the prompts' own rows p give the second moment

    C = mean r^T r over inputs + mean p^T p over prompts,        [dim, dim].

Both terms are means, so that a few prompts count as much as many tokens. The eigenvectors of C are the directions of
the rows' singular value decomposition; its eigenvalues are the squared singular values. As in gradient projection
memory (Saha et al., 2021), the basis V [dim, k] of earlier tasks is extended by the leading directions of the rest,
(I - V V^T) C (I - V V^T), until both together hold the share eps of the spectrum, trace C. From then on a prompt's
gradient g [..., dim] becomes g - g V V^T.

`spectrum="published"` counts directions as PGP's code does. It decomposes r^T r instead of r, so its shares are those
of squared eigenvalues (sigma^4), and later directions are the left ones of (I - V V^T) C. The first task's basis has
the directions whose shares, added up, stay below eps: one fewer than reach it, so possibly none. That code first cuts
the rows to a few leading scores of each sample (5, 9 or 50), and its products are of samples with samples. It uses 768
samples, as many as ViT-B has features, so the bases fit the gradients but mean something else. Here products are always
of features with features, with either spectrum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from softtf.config.bounds import Count, Share
from softtf.config.tree import Settings
from softtf.files.tensor_form import TensorForm

Spectrum = Literal["ours", "published"]
ROUNDING = 1e-6  # of the spectrum; a basis is kept in float32, and a share missed only by rounding counts as reached


@dataclass(frozen=True)
class Projection(Settings):
    """Project the prompts' gradients out of the space that earlier tasks used (PGP).

    Attributes:
        eps: share of the spectrum that the space holds; 0.5 in the published runs.
        samples: training examples of each task that span the space.
        spectrum: how the share is counted: `ours` takes the rows' squared length, `published` the spectrum of PGP's
            code.
    """

    eps: Share = 0.5
    samples: Count = 768
    spectrum: Spectrum = "ours"

    def extend(self, basis: Tensor | None, moment: Tensor, eps: float | None = None) -> Tensor:
        """Return the basis, extended by the leading directions of a second moment that it lacks.

        Args:
            basis: V [dim, k], orthonormal columns; None for none yet.
            moment: C [dim, dim], float64 on the CPU.
            eps: the share to reach, where it is not the setting.

        Returns:
            [dim, k or more], float32 on the CPU, orthonormal columns; `basis` itself where nothing is added.
        """
        count = extended if self.spectrum == "ours" else extended_as_published
        return count(basis, moment, self.eps if eps is None else eps)


class SecondMoment:
    """The mean of r^T r over rows that are added batch by batch."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.rows = 0

    def add(self, rows: Tensor) -> "SecondMoment":
        """Add rows [..., dim] to the mean."""
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
    """Return the basis, extended to the share `eps` of trace C; arguments as for `Projection.extend`."""
    kept = moment.new_zeros(len(moment), 0) if basis is None else basis.to(moment)
    outside = torch.eye(len(moment), dtype=moment.dtype) - kept @ kept.T
    values, vectors = torch.linalg.eigh(outside @ moment @ outside)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    missing = eps * moment.trace() - (moment.trace() - values.sum())
    held = torch.cat([values.new_zeros(1), values.cumsum(0)])  # by the first 0, 1, ... directions
    more = int((held < missing - ROUNDING * moment.trace()).sum())
    return _joined(basis, vectors[:, :more])


def extended_as_published(basis: Tensor | None, moment: Tensor, eps: float) -> Tensor:
    """Return the basis, extended by shares of sigma^4; arguments as for `Projection.extend`."""
    kept = moment.new_zeros(len(moment), 0) if basis is None else basis.to(moment)
    vectors, values, _ = torch.linalg.svd(moment - kept @ (kept.T @ moment))
    total = moment.square().sum()  # = the sum of C's squared eigenvalues
    shares = values.square() / total
    if basis is None:
        more = int((shares.cumsum(0) < eps - ROUNDING).sum())
    else:
        before = 1 - shares.sum() + torch.cat([shares.new_zeros(1), shares.cumsum(0)[:-1]])
        more = int((before < eps - ROUNDING).sum())
    return _joined(basis, vectors[:, : min(more, len(moment) - kept.shape[1])])


def _joined(basis: Tensor | None, more: Tensor) -> Tensor:
    """Return the basis with further directions [dim, n]; the basis itself if there are none."""
    if basis is not None and not more.shape[1]:
        return basis
    both = more if basis is None else torch.cat([basis.to(more), more], 1)
    orthonormal: Tensor = torch.linalg.qr(both).Q
    return orthonormal.float().contiguous()  # as if read from a file: products round the same way


def basis_form(dim: int) -> TensorForm:
    """Return the form of a saved basis [dim, k]; k may be 0."""

    def orthonormal(basis: Tensor, _: Mapping[str, Tensor]) -> bool:
        products = basis.double().T @ basis.double()
        return bool((products - torch.eye(len(products), dtype=products.dtype)).abs().lt(1e-3).all())

    return TensorForm((dim, range(dim + 1)), rule=orthonormal, words="orthonormal columns")


def projected(gradient: Tensor, basis: Tensor) -> Tensor:
    """Return g - g V V^T of a gradient [..., dim] and a basis V [dim, k]."""
    basis = basis.to(gradient)
    return gradient - gradient @ basis @ basis.T

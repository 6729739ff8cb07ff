"""The sums from which a ridge regression of labels is solved; they add up over tasks, in any order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.devices.processes import summed
from softtf.errors import TrainingError
from softtf.files.tensor_form import FLOATS, INTEGERS, Forms, TensorForm
from softtf.statistics.shares import Share, local_numbers

NO_EXAMPLES = "the sums of earlier tasks are those of no examples; load a learner that was not changed"


@dataclass(frozen=True)
class Moments:
    """The weighted sums of a ridge regression: W = (gram + unit lambda I)^-1 cross.

    Attributes:
        gram: sum w h h^T [M, M].
        cross: sum w h y^T [M, labels].
        weight: sum w.
        unit: the mean of w.
    """

    gram: Tensor
    cross: Tensor
    weight: float
    unit: float


@dataclass(frozen=True)
class RidgeSums:
    """Sums over examples, in float64.

    Attributes:
        gram: sum h h^T [M, M].
        cross: sum h y^T [M, labels].
        counts: [labels], the examples of each label.
    """

    gram: Tensor
    cross: Tensor
    counts: Tensor

    @classmethod
    def zeros(cls, size: int, labels: int) -> "RidgeSums":
        """Return the sums over no examples."""
        shapes = (size, size), (size, labels), (labels,)
        return cls(*(torch.zeros(*shape, dtype=torch.float64) for shape in shapes))

    def add(self, h: Tensor, labels: Tensor) -> None:
        """Add examples in place: h [n, M], float64, and labels [n]."""
        self.gram.addmm_(h.T, h)
        self.cross.index_add_(1, labels, h.T)
        self.counts.add_(torch.bincount(labels, minlength=len(self.counts)))

    def gather(self) -> None:
        """Add, in place, the sums of the other processes of the run; integers stay exact."""
        for part in (self.gram, self.cross, self.counts):
            if (total := summed(part)) is not part:
                part.copy_(total)

    def add_sums(self, other: "RidgeSums") -> "RidgeSums":
        """Add others in place, and return these."""
        self.gram.add_(other.gram)
        self.cross.add_(other.cross)
        self.counts.add_(other.counts)
        return self

    def __add__(self, other: "RidgeSums") -> "RidgeSums":
        return RidgeSums(self.gram + other.gram, self.cross + other.cross, self.counts + other.counts)

    def __sub__(self, other: "RidgeSums") -> "RidgeSums":
        return RidgeSums(self.gram - other.gram, self.cross - other.cross, self.counts - other.counts)

    def among(self, numbers: Tensor, labels: int) -> "RidgeSums":
        """Return the same sums with `labels` labels, among which these have the numbers `numbers`."""
        cross, counts = self.cross.new_zeros(len(self.cross), labels), self.counts.new_zeros(labels)
        cross[:, numbers], counts[numbers] = self.cross, self.counts
        return RidgeSums(self.gram, cross, counts)

    def moments(self, balance: bool) -> Moments:
        """Return the weighted sums, with w = 1 or with equal weight for all labels.

        With `balance`, an example of a label with n examples has w = 1/n. There is no sum of h h^T per label. Each
        label keeps its mean m, and its scatter is taken to be S, the scatter of all labels together. Thus
        gram = labels S + sum m m^T. This is exact in any order and however often a label comes; with equal counts it
        equals the sum of h h^T / n.
        """
        examples = float(self.counts.sum())
        if not balance or not examples:
            return Moments(self.gram, self.cross, examples, 1.0)
        labels = int((self.counts > 0).sum())
        means = self.cross / self.counts.clamp_min(1)
        gram = self.scatter(means).div_(examples)  # S
        return Moments(gram.mul_(labels).add_(means @ means.T), means, labels, labels / examples)

    def scatter(self, means: Tensor) -> Tensor:
        """Return sum (h - m) (h - m)^T [M, M] of examples around their labels' means m [M, labels]."""
        return ((means * self.counts) @ means.T).neg_().add_(self.gram)

    def kept(self, prefix: str, whole: bool = False) -> dict[str, Tensor]:
        """Return the sums as tensors to save, gram as its upper triangle [M (M + 1) / 2].

        Args:
            prefix: the start of the keys.
            whole: the sums are integers and are saved exactly; otherwise they are rounded to float32.
        """
        dtype = torch.float32
        if whole:
            dtype = torch.int32 if max(self.gram.max(), self.cross.max()) < 2**31 else torch.int64
        return {
            f"{prefix}gram": to_triangle(self.gram, dtype),
            f"{prefix}sums": self.cross.to(dtype),
            f"{prefix}examples": self.counts.long(),
        }

    @staticmethod
    def forms(
        prefix: str, size: int, labels: int, fewest: int = 1, least: float = -math.inf, whole: bool = False
    ) -> Forms:
        """Return the forms of what `kept` returns.

        Args:
            prefix: the start of the keys.
            size: M.
            labels: the number of labels.
            fewest: the least number of examples of each label.
            least: the least value of a sum, 0 where h is never negative.
            whole: whether the sums are integers.
        """
        types = (torch.int32, torch.int64) if whole else FLOATS
        return {
            f"{prefix}gram": TensorForm((size * (size + 1) // 2,), types, least),
            f"{prefix}sums": TensorForm((size, labels), types, least),
            f"{prefix}examples": TensorForm((labels,), INTEGERS, fewest),
        }

    @staticmethod
    def without(share: Mapping[str, Tensor], prefix: str, size: int, kept: Tensor) -> dict[str, Tensor]:
        """Return what `kept` would return for some labels of a share alone, as nearly as its sums allow.

        There is no sum of h h^T per label. As in `moments`, the scatter around the labels' means is taken to be the
        same for all labels, so something of the others' examples stays in it. Where no sum is negative, as for features
        after a ReLU, none becomes negative.

        Args:
            share: of one task.
            prefix: the start of the keys.
            size: M.
            kept: the labels that stay, numbered within the share.
        """
        whole = are_integers(share, prefix)
        labels = torch.arange(share[f"{prefix}examples"].shape[0])
        sums = RidgeSums.total([Share(share, labels)], prefix, size, len(labels))
        means = sums.cross / sums.counts.clamp_min(1)
        cross, counts, own = sums.cross[:, kept], sums.counts[kept], means[:, kept]
        part = counts.sum() / sums.counts.sum().clamp_min(1)
        gram = sums.scatter(means).mul_(part).add_((own * counts) @ own.T)
        if sums.gram.min() >= 0:
            gram.clamp_min_(0)
        return RidgeSums(gram.round_() if whole else gram, cross, counts).kept(prefix, whole)

    @classmethod
    def joined(cls, shares: Sequence[Share], prefix: str, size: int, labels: int) -> dict[str, Tensor]:
        """Return what `kept` would return for the examples of all shares; the arguments are as for `total`."""
        return cls.total(shares, prefix, size, labels).kept(prefix, are_integers(shares[0].tensors, prefix))

    @classmethod
    def total(cls, shares: Sequence[Share], prefix: str, size: int, labels: int) -> "RidgeSums":
        """Return the sums over what each share has `kept`, in the order of shares; zero sums without shares.

        Args:
            shares: of any tasks.
            prefix: the start of the keys.
            size: M.
            labels: the number of labels, including those of these shares.
        """
        triangle = torch.zeros(size * (size + 1) // 2, dtype=torch.float64)
        cross, counts = (torch.zeros(*shape, labels, dtype=torch.float64) for shape in ((size,), ()))
        for share in shares:
            numbers, _ = local_numbers(share.labels)
            triangle += share.tensors[f"{prefix}gram"]
            cross[:, numbers] += share.tensors[f"{prefix}sums"]
            counts[numbers] += share.tensors[f"{prefix}examples"]
        return cls(from_triangle(triangle), cross, counts)


def are_integers(share: Mapping[str, Tensor], prefix: str) -> bool:
    """Return whether the sums that a share has `kept` are integers."""
    return not share[f"{prefix}gram"].is_floating_point()


def mean_square(gram: Tensor, weight: float) -> float:
    """Return the mean of h^2, given a sum of h h^T [M, M] with weights that sum to `weight`; never 0."""
    return max(float(gram.trace()) / len(gram) / weight, torch.finfo(torch.float32).tiny)


def solve_positive(matrix: Tensor, right: Tensor, otherwise: str) -> Tensor:
    """Return matrix^-1 right for a positive definite matrix.

    Raises:
        TrainingError: it is not positive definite; the message is `otherwise`.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        raise TrainingError(otherwise)
    return torch.cholesky_solve(right, factor)


def to_triangle(gram: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the upper triangle of a symmetric matrix [M, M], row by row, as [M (M + 1) / 2] in `dtype`.

    Row by row, because a mask's indices would take more memory than the matrix.
    """
    return torch.cat([row[i:].to(dtype) for i, row in enumerate(gram)])


def from_triangle(triangle: Tensor) -> Tensor:
    """Return the symmetric matrix [M, M] from an upper triangle of `to_triangle`, in float64."""
    size = math.isqrt(2 * len(triangle))
    gram = torch.empty(size, size, dtype=torch.float64)
    for i, row in enumerate(triangle.split([*range(size, 0, -1)])):
        gram[i, i:] = gram[i:, i] = row
    return gram

"""KLDA: linear discriminant analysis on random Fourier features of frozen features, as an ensemble of several maps.

Momeni, Mazumder and Liu, "Continual Learning Using a Kernel-Based Method Over Foundation Models", AAAI 2025; their code
is SalehMomeni/KLDA. Each map has D dimensions, with Omega ~ N(0, 2 gamma) and b ~ U(0, 2 pi):

    phi(x) = sqrt(2/D) cos(Omega^T x + b), so that phi(x) phi(y) is about exp(-gamma |x - y|^2)
    m_c = mean of class c's phi    S = sum over all examples of (phi - m_c) (phi - m_c)^T
    score_c = -(phi - m_c)^T S^-1 (phi - m_c)

A class's probability is the mean of the maps' softmax. Classes have no prior.

What differs here (docs/methods.md): S + lambda I is inverted. The paper takes a pseudo-inverse without a cut-off, which
inverts rounding errors while there are fewer examples than D. Gamma comes from the first task, as the paper's for
images is not published; if the examples of that task are too alike, it comes from drawn inputs. The scores of the maps
are added: S is a sum, not a mean, so the published softmax is nearly flat, and the sum of such probabilities orders
classes as the sum of the scores does. S comes from sums of phi phi^T, which are exact for a class that comes in several
parts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone, Tokens
from softtf.backbones.random_inputs import random_inputs
from softtf.config.bounds import Between, Positive
from softtf.devices.processes import mine
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner, ClosedFormSpec
from softtf.seeds import derive_seed
from softtf.statistics import Share
from softtf.statistics.base import Dimension
from softtf.statistics.centred_ridge import MOST_LEVERAGE, random_signs, trace_of
from softtf.statistics.random_ridge import ROWS, column_counts, column_forms, share_joined, share_united, share_without
from softtf.statistics.ridge_sums import NO_EXAMPLES, RidgeSums, solve_positive
from softtf.statistics.shares import all_labels, local_numbers, own_share
from softtf.statistics.temperature import log_shares, mean_height

WIDTH = 0.1  # gamma times the median squared distance; chosen on training images of CIFAR-100 and training texts
HEIGHTS = 0.2  # the temperature of a map's scores over their `mean_height`; chosen on the same images
RIDGE = 0.3  # ours (docs/methods.md)
LEAST_RIDGE = 1e-6  # per example, where S is zero
PAIRED = 1000  # examples whose distances are measured
DRAWN = 50  # inputs drawn from a seed: their distances are the usual ones of a backbone
LEAST = 0.1  # of the usual distance: nearer examples are too alike, such as frames of one film
GAMMA = TensorForm(least=torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class KLDA(ClosedFormSpec, kind="klda"):
    """Random Fourier features of a Gaussian kernel, class means, and one covariance of all classes seen.

    Attributes:
        projection: D, the dimensions of a map. A task's sums take 2 D (D + 1) bytes per map, and 4 D per class and map.
        maps: number of maps; 1 is KLDA, several are its ensemble, KLDA-E.
        gamma: of the kernel exp(-gamma |x - y|^2). Without it: 0.1 / the median squared distance between examples of
            the first task, or between drawn inputs (`usual_gamma`). The paper has 0.01 for MiniLM and 0.005 for
            BERT-base.
    """

    title = "KLDA (frozen features)"

    projection: Dimension = 5000
    maps: Annotated[int, Between(1, 100)] = 5
    gamma: Positive | None = None

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return KLDALearner(backbone, seed, self)


class FourierMaps(nn.Module):
    """The random Fourier features of several maps; the N(0, 1) values [maps, dim, D] and phases come from the seed."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, maps: int, dim: int, size: int, seed: int) -> None:
        super().__init__()
        self.maps, self.size = maps, size
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        self.register_buffer("frequencies", torch.randn(maps, dim, size, generator=generator), persistent=False)
        self.register_buffer("phases", 2 * math.pi * torch.rand(maps, 1, size, generator=generator), persistent=False)

    def forward(self, features: Tensor, gamma: Tensor) -> Tensor:
        """Return phi of each map, [maps, n, D], of features [n, dim]."""
        frequencies = self.frequencies.to(features.dtype) * (2 * gamma).sqrt().to(features)
        return math.sqrt(2 / self.size) * torch.cos(features @ frequencies + self.phases.to(features.dtype))


class KLDALearner(ClosedFormLearner):
    """A task's share is gamma and its sums for each map. A head holds its classes' discriminants for all maps.

    -(phi - m)^T P (phi - m) / 2 is w phi - w m / 2 with w = P m, plus a term that is the same for all classes.
    """

    common = ("gamma",)

    def __init__(self, backbone: Backbone, seed: int, spec: KLDA) -> None:
        super().__init__(backbone, (), seed, heads=Heads(spec.maps * spec.projection, retrained=True))
        self.spec = spec
        self.fourier = FourierMaps(spec.maps, backbone.dim, spec.projection, seed)

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the form of gamma."""
        return {"gamma": GAMMA}

    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the sums, the counts and gamma."""
        forms = {"gamma": GAMMA, **column_forms(labels)}
        for number in range(self.spec.maps):
            forms |= RidgeSums.forms(_prefix(number), self.spec.projection, int(labels.max()) + 1)
        return forms

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task's sums and solve; return gamma, to show."""
        before = self.shares_of(labels)
        gamma = self.memory["gamma"] if before else torch.tensor(self._gamma(features, columns))
        own_columns, own_labels = own_share(before, columns, labels)
        numbers, local = local_numbers(own_labels)
        share = {"gamma": gamma, "counts": torch.bincount(own_columns, minlength=len(own_labels)), "labels": local}
        for number, sums in enumerate(self._summed(features, gamma, local[own_columns], len(numbers))):
            share |= sums.kept(_prefix(number))
        self.keep_share(share)
        self.solve([*before, Share(share, own_labels)])
        return {"gamma": float(gamma)}

    @torch.no_grad()
    def solve(self, shares: Sequence[Share]) -> None:
        """Set the heads from the sums of all shares."""
        self.memory = {"gamma": shares[0].tensors["gamma"]} if shares else {}
        if not shares:
            return
        labels = all_labels(shares)
        count, parts = int(labels.max()) + 1, []
        for number in range(self.spec.maps):
            parts.append(discriminants(RidgeSums.total(shares, _prefix(number), self.spec.projection, count)))
        weights = torch.cat([weight for weight, _, _ in parts])[:, labels]
        bias = torch.stack([bias for _, bias, _ in parts]).sum(0)[labels]
        scale = sum(temperature for _, _, temperature in parts)  # of the mean of the maps' scores
        self.set_heads((weights / scale).float(), (bias / scale).float() + log_shares(column_counts(shares), labels))

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's sums for the classes at `kept` alone."""
        return share_without(share, self.spec.projection, kept, *map(_prefix, range(self.spec.maps)))

    def joined(self, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's sums with those of more of its examples; gamma stays."""
        return share_joined(one, more, self.spec.projection, *map(_prefix, range(self.spec.maps)))

    def united(self, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return the sums of the tasks of some shares together; gamma is the same in all."""
        sums = share_united(shares, self.spec.projection, *map(_prefix, range(self.spec.maps)))
        return {**sums, "gamma": shares[0].tensors["gamma"]}

    def fitted_beside(self, task: int) -> list[str]:
        """Return gamma for the first task, since it comes from that task's distances."""
        own = [] if task or self.spec.gamma else ["gamma, the width of the kernel, which is of its distances"]
        return super().fitted_beside(task) + own

    def _gamma(self, features: Tensor, columns: Tensor) -> float:
        """Return the spec's gamma, or that of the first task's features [n, dim] and columns [n]."""
        if self.spec.gamma:
            return self.spec.gamma
        network = self.network
        drawn = random_inputs(network.backbone)[:DRAWN].to(next(network.backbone.parameters()).device)
        usual = median_distance(network.query(network.stem(drawn)).cpu())
        return usual_gamma(features, usual, 1.0 if len(columns.unique()) == 1 else LEAST)

    def _summed(self, features: Tensor, gamma: Tensor, own: Tensor, count: int) -> list[RidgeSums]:
        """Return each map's sums over a task's examples; own: [n], their labels, numbered within the task."""
        maps = [RidgeSums.zeros(self.spec.projection, count) for _ in range(self.spec.maps)]
        for part, of_part in mine(zip(features.split(ROWS // 4), own.split(ROWS // 4), strict=True)):
            for sums, phi in zip(maps, self.fourier(part.to(self.fourier.phases.device), gamma), strict=True):
                sums.add(phi.cpu().double(), of_part)
        for sums in maps:
            sums.gather()
        return maps

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the scores' mean over maps, divided by the temperature, up to a constant, [batch, classes seen]."""
        phi = self.fourier(self.network.top(trunk, task=task), self.memory["gamma"])
        return self.network.heads(phi.transpose(0, 1).flatten(1), range(self.num_tasks))  # type: ignore[no-any-return]


def _prefix(number: int) -> str:
    return f"map{number + 1}_"


def usual_gamma(features: Tensor, usual: float, least: float) -> float:
    """Return WIDTH / the median squared distance between the first task's examples [n, dim].

    Below `least` times `usual`, the distance is `usual`: for examples that are too alike the kernel would be too narrow
    for all later tasks.

    Args:
        features: of the first task.
        usual: the median squared distance between the features of drawn inputs.
        least: 1 for a task of one class, LEAST for others.
    """
    median = median_distance(features)
    return WIDTH / max(median if median >= least * usual else usual, torch.finfo(torch.float32).tiny)


def median_distance(features: Tensor) -> float:
    """Return the median squared distance between features [n, dim], of at most PAIRED rows; 0 for one row."""
    distances = nn.functional.pdist(features[:: -(-len(features) // PAIRED)].double()).square()
    return float(distances.median()) if len(distances) else 0.0


def discriminants(sums: RidgeSums) -> tuple[Tensor, Tensor, float]:
    """Return w_c = P m_c [D, labels], -m_c w_c / 2 [labels] and the temperature of the scores; P = n (S + lambda I)^-1.

    lambda = 0.3 tr S / n: its influence falls as examples are added.

    Raises:
        TrainingError: the sums contain no examples.
    """
    n, means = float(sums.counts.sum()), sums.cross / sums.counts
    scatter = sums.scatter(means)
    ridge = max(RIDGE * float(scatter.trace()) / n, LEAST_RIDGE * n)
    scatter.diagonal().add_(ridge)
    solved = solve_positive(scatter, torch.cat([n * means, random_signs(len(means))], 1), NO_EXAMPLES)
    weights, inverse = solved.tensor_split([means.shape[1]], 1)
    bias = (means * weights).sum(0).div(-2)
    leverage = (len(means) - ridge * trace_of(inverse)) / n
    return weights, bias, temperature_of(means.T @ weights + bias, sums.counts, leverage)


def temperature_of(scores: Tensor, counts: Tensor, leverage: float) -> float:
    """Return the temperature of scores: HEIGHTS times `mean_height`; no answer depends on it.

    An example x of class c that is left out is further from m_c, by which its score of c is lower. With u = x - m_c and
    l the mean of u^T (S + lambda I)^-1 u, to the first order in 1 / n_c it is lower by n n_c / (n_c - 1)^2 l / (1 - l).

    Args:
        scores: [labels, labels], of each class's mean.
        counts: n_c [labels].
        leverage: l.
    """
    several, leverage = counts > 1, min(leverage, MOST_LEVERAGE)
    seen = float(scores.diagonal().mean() - scores.mean())
    if not several.any():
        return HEIGHTS * mean_height(seen, 0.0)
    share = float((counts / (counts - 1).square())[several].mean() * counts.sum())
    return HEIGHTS * mean_height(seen, seen - share * leverage / (1 - leverage) * (1 - 1 / len(counts)))

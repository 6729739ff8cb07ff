"""The density of each class, from the same solution as the ridge regression of labels: a Gaussian around its mean.

All classes have one covariance, so the log-densities are linear in the units, as the regression's scores are. A
regression of labels gives low scores everywhere to a class that lies between others: three stars are hardly ever the
answer between two and four (Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2009, section
4.2). Densities do not have this fault.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from softtf.statistics.centred_ridge import Centred


class Densities(NamedTuple):
    """Log-densities d = h weights + bias.

    Attributes:
        weights: [M, labels].
        bias: [labels].
    """

    weights: Tensor
    bias: Tensor


def class_densities(found: Centred) -> Densities:
    """Return d_c = (log N(h; m_c, A) - log N(h; m, A)) / sqrt D.

    m_c is the mean of class c, m the mean of all m_c, A = (S + lambda I) / n with S the scatter around the classes'
    means, and D the mean of D_c = (m_c - m)^T A^-1 (m_c - m), at least 1. The squares of h cancel:
    log N(h; m_c, A) - log N(h; m, A) = (h - m)^T A^-1 (m_c - m) - D_c / 2.

    With D' the matrix of all m_c - m and K = D'^T W, Woodbury's identity gives A^-1 D' = C W (I - K)^-1.

    Features have heavier tails than Gaussians. How much less the densities say therefore grows with D: over streams of
    2 to 50 classes, the best multiple of the logarithms fell as 1 / sqrt D (docs/results-details.md).
    """
    size, labels = found.weights.shape
    means = found.cross * (found.labels / found.examples)  # m_c - m
    if labels <= size:
        inner = torch.eye(labels).double() - means.T @ found.weights
        weights = torch.linalg.solve(inner, found.weights, left=False)
    else:  # the same, with a matrix of [M, M]
        weights = torch.linalg.solve(torch.eye(size).double() - found.weights @ means.T, found.weights)
    weights = weights * found.labels
    squares = (means * weights).sum(0)
    apart = max(1.0, float(squares.sum()) / found.labels)
    scale = apart**0.5
    return Densities(weights / scale, (-found.centre @ weights - squares / 2) / scale)

"""Exemplars by clusters: of each, the member nearest to its centre (IDBR)."""

import torch
from torch import Tensor

from softtf.statistics.centroids import k_means, nearest_of


def most_central(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the member nearest to its centre of each of k-means' clusters, at most `count`, of features [n, dim]."""
    points = features.double()
    distances, own = nearest_of(points, k_means(points, count, generator))
    order = distances.argsort(stable=True)
    order = order[own[order].argsort(stable=True)]  # by cluster, in each the nearest first
    sizes = torch.unique_consecutive(own[order], return_counts=True)[1]
    return order[sizes.cumsum(0) - sizes]

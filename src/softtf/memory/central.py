"""Exemplars by clustering: the example nearest to the centre of each cluster (IDBR)."""

import torch
from torch import Tensor

from softtf.statistics.centroids import k_means


def most_central(features: Tensor, count: int, seed: int) -> Tensor:
    """Return, for each cluster that k-means finds, the index of the example nearest to its centre: [at most `count`].

    Args:
        features: [n, dim], to be clustered.
        count: the number of clusters.
        seed: of k-means.
    """
    points = features.double()
    centres, own = k_means(points, count, seed)
    distances: Tensor = (points - centres[own]).norm(dim=1)
    order = distances.argsort(stable=True)
    order = order[own[order].argsort(stable=True)]  # by cluster, the nearest example first
    sizes = torch.unique_consecutive(own[order], return_counts=True)[1]
    return order[sizes.cumsum(0) - sizes]

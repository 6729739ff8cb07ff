"""Herding (Welling, 2009; iCaRL, Algorithm 4): choose examples whose mean stays nearest to the mean of all."""

import torch
from torch import Tensor


def herd(features: Tensor, count: int | None = None) -> Tensor:
    """Return the indices of the examples to keep, [min(count, n)]; a prefix is the choice for a smaller count.

    The k-th example brings the mean of the first k nearest to the mean of all. No example is chosen twice.

    Args:
        features: [n, dim], of one class.
        count: how many to choose; None for all.
    """
    features = features.double()
    mean, chosen_sum = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    order: list[int] = []
    for k in range(1, min(count or len(features), len(features)) + 1):
        distances = (mean - (chosen_sum + features) / k).square().sum(1)
        best = int(distances.where(free, torch.inf).argmin())
        free[best] = False
        chosen_sum += features[best]
        order.append(best)
    return torch.tensor(order, dtype=torch.int64)

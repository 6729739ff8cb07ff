"""Herding (Welling, 2009; iCaRL, Algorithm 4): the examples whose mean stays nearest to the mean of all, in order."""

import torch
from torch import Tensor


def herd(features: Tensor, count: int | None = None) -> Tensor:
    """Return which examples to keep, [min(count, n)] indices in order; a prefix is the choice for a smaller count.

    The k-th is the one that brings the mean of the first k nearest to the mean of all; no example is taken twice.

    Args:
        features: [n, dim], of one class.
        count: None for all.
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

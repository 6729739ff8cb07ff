"""The minimum of a smooth convex loss, for methods that solve a problem after their last step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def minimise(loss: Callable[[], Tensor], variables: Sequence[Tensor], rounds: int) -> None:
    """Set `variables` to the minimum of `loss()`, convex in them, by at most `rounds` rounds of L-BFGS."""
    optimizer = torch.optim.LBFGS(list(variables), max_iter=rounds, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)

"""How a broken law is reported."""

from collections.abc import Mapping

import torch
from torch import Tensor


def law(kept: bool, text: str) -> None:
    """Raise an AssertionError with the text unless the law is kept."""
    if not kept:
        raise AssertionError(f"law broken: {text}")


def same(found: Tensor, expected: Tensor, text: str, tolerance: float = 1e-9) -> None:
    """Raise an AssertionError unless two tensors are equal up to rounding."""
    law(found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=tolerance), text)


def equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Return whether named tensors are equal, bit for bit."""
    return found.keys() == expected.keys() and all(torch.equal(found[n], value) for n, value in expected.items())

"""How several methods are published to be trained. It imports no torch, as recipes read it too."""

from collections.abc import Mapping
from typing import Any


def published_sgd(rate: float, batch_size: int) -> Mapping[str, Any]:
    """Return how most rivals are published: SGD at `rate` for batches of `batch_size`, with a falling cosine."""
    return {
        "optimizer": "sgd",
        "learning_rate": rate * 256 / batch_size,
        "batch_size": batch_size,
        "schedule": "cosine",
        "weight_decay": 5e-4,
        "clip_norm": None,
    }

"""What the loader asks of a preparation: how raw inputs of one kind become batches for a backbone."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Preparation(Protocol):
    """Two steps: loading one raw input (slow, on the CPU, kept in memory), then a batch on the device."""

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return the loaded form of one training input; errors name `where`."""

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return the loaded form of one test input; errors name `where`."""

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return training inputs [b, ...] on `device`; all randomness comes from the CPU `generator`."""

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return test inputs [b, ...] on `device`."""

"""What the loader asks of a preparation: how raw inputs of one kind become batches for a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ready:
    """A training input whose random part is done: of use in one epoch only, so that it is not kept."""

    values: Tensor


class Preparation(Protocol):
    """Two steps: loading one raw input (slow, on the CPU, kept in memory), then a batch on the device.

    Where something is drawn at random (`augment`), it is also an `Augmentation`.
    """

    @property
    def augment(self) -> bool:
        """Whether training inputs are drawn at random."""

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


class Augmentation(Preparation, Protocol):
    """A preparation that reads training inputs anew in each epoch, as the numbers drawn for them say."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the numbers that decide on `count` inputs, float64 [count, numbers]."""

    def load_drawn(self, raw: Any, where: str, drawn: Tensor, room: int) -> Tensor | Ready:
        """Return one training input's original if that is to be kept, in up to `room` bytes; else what is `drawn`."""

    def augment_drawn(
        self, loaded: Sequence[Tensor | Ready] | Tensor, drawn: Tensor, device: torch.device | str
    ) -> Tensor:
        """Return training inputs [b, ...] on `device` from what `load_drawn` gave, now or in an earlier epoch."""


def unaugmented(preparation: Preparation) -> Preparation:
    """Return the preparation with nothing drawn at random."""
    return replace(preparation, augment=False) if preparation.augment else preparation  # type: ignore[type-var]


@dataclass(frozen=True)
class TrainingInputs:
    """Gives as test inputs what training would see: for `training`'s preparation without augmentation.

    Training and test inputs of one example differ in how they are resized, even where nothing is augmented.
    """

    training: Preparation
    augment: bool = field(default=False, init=False)

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        return f"training:{self.training.fingerprint}"

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return the loaded form of one training input; errors name `where`."""
        return self.training.load_train(raw, where)

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return training inputs [b, ...] on `device`."""
        return self.training.augment_batch(loaded, device, generator)

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return the loaded form of one training input; errors name `where`."""
        return self.training.load_train(raw, where)

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return training inputs [b, ...] on `device`; nothing is random about them."""
        return self.training.augment_batch(loaded, device, torch.Generator())

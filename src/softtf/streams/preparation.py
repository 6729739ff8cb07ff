"""The interface of a preparation: it turns raw inputs of one kind into batches for a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from softtf.files.tensor_form import TensorForm


@dataclass(frozen=True)
class LoadedInput:
    """A raw input that stands for its loaded form, as `load_test` returned it: a loader takes it as it is."""

    values: Tensor


@dataclass(frozen=True)
class Ready:
    """A training input that is already augmented; it serves for one epoch only and is not cached."""

    values: Tensor


class Preparation(Protocol):
    """Works in two steps: it loads one raw input (slow, on the CPU, cached), then makes a batch on the device.

    A preparation that augments is also an `Augmentation`.
    """

    @property
    def augment(self) -> bool:
        """Whether training inputs are augmented at random."""

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""

    @property
    def loaded_form(self) -> TensorForm:
        """The form of what `load_train` returns: exemplars that are read from a file are checked against it."""

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return the loaded form of one training input; errors name `where`."""

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return the loaded form of one test input; errors name `where`."""

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return training inputs [b, ...] on `device`; all random numbers come from the CPU `generator`."""

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return test inputs [b, ...] on `device`."""


class Augmentation(Preparation, Protocol):
    """A preparation that augments training inputs in each epoch, by random numbers that are drawn beforehand."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the random numbers for `count` inputs, float64 [count, numbers of one input]."""

    def load_drawn(self, raw: Any, where: str, drawn: Tensor, room: int) -> Tensor | Ready:
        """Return the original of a training input, if it is to be cached in `room` bytes, else the augmented input."""

    def augment_drawn(
        self, loaded: Sequence[Tensor | Ready] | Tensor, drawn: Tensor, device: torch.device | str
    ) -> Tensor:
        """Return training inputs [b, ...] on `device` from the results of `load_drawn`, of this or an earlier epoch."""


def unaugmented(preparation: Preparation) -> Preparation:
    """Return the preparation without augmentation."""
    return replace(preparation, augment=False) if preparation.augment else preparation  # type: ignore[type-var]


@dataclass(frozen=True)
class TrainingInputs:
    """Prepares test inputs like training inputs: by the methods for training of `training`, which does not augment.

    Training and test inputs of one example are resized differently even without augmentation.
    """

    training: Preparation
    augment: bool = field(default=False, init=False)

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        return f"training:{self.training.fingerprint}"

    @property
    def loaded_form(self) -> TensorForm:
        """The form of the training preparation."""
        return self.training.loaded_form

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
        """Return training inputs [b, ...] on `device`; nothing is random."""
        return self.training.augment_batch(loaded, device, torch.Generator())

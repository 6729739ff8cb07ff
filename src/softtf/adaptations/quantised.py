"""Adaptations whose finished tasks take a byte a parameter, and can stay on disk (`softtf.adaptations.quantise`)."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from softtf.adaptations.base import ALL_ROWS, Adaptation
from softtf.adaptations.quantise import Packed, pack
from softtf.adaptations.slots import MappedSlot
from softtf.config.bounds import Between

Store = Literal["int8", "float32"]
Rank = Annotated[int, Between(1, 100_000)]
STEPS = "_steps"  # ends the names of packed matrices' steps


class QuantisedAdaptation(Adaptation):
    """An adaptation whose parameters are matrices [rows, columns], and vectors beside them.

    store: how a finished task's matrices are kept, in memory and on disk: `int8`, each number within 1/254 of its
    row's largest deviation from `centre`, and the task's head and E-prompts, which `float32` beside bytes would make
    the file's bulk, in float16 (`softtf.adaptations.quantise.halve`); or `float32`: everything exact.
    """

    store: Store = "int8"
    centre: float = 0.0
    on_disk: bool = False

    @property
    def stores_bytes(self) -> bool:
        """Whether `store` is int8."""
        return self.store == "int8"

    def packed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each matrix's codes under its own name and its steps beside it, or all as it is (`float32`)."""
        if self.store == "float32":
            return values
        matrices = {name: pack(value, self.centre) for name, value in values.items() if value.ndim == 2}
        return (
            {name: value for name, value in values.items() if name not in matrices}
            | {name: matrix.codes for name, matrix in matrices.items()}
            | {name + STEPS: matrix.steps for name, matrix in matrices.items()}
        )

    def keep_on_disk(self) -> None:
        """Leave what is loaded from now on in its files; it is fetched when a task is used."""
        self.on_disk = True

    def load_task(self, state: dict[str, Tensor]) -> None:
        """Append a finished task, packed or in float32 as an earlier version saved it."""
        if self.on_disk:
            self.slots.append(MappedSlot(state))
        else:
            super().load_task(state)

    def num_parameters(self, task: int) -> int:
        """Return how many numbers were trained; steps are none."""
        return sum(value.numel() for name, value in self.own_slot(task).items() if not name.endswith(STEPS))

    def stored(self, task: int, name: str) -> Tensor | Packed:
        """Return a matrix as it is trained, or packed if its task is finished."""
        slot = self.slot(task)
        values: Tensor = slot[name]
        return Packed(values, slot[name + STEPS], self.centre) if name + STEPS in slot else values

    def matrix(self, task: int, name: str, device: torch.device, rows: slice = ALL_ROWS) -> Tensor:
        """Return the values of a matrix's rows on a device; no others are unpacked."""
        stored = self.stored(task, name)[rows].to(device)
        return stored.unpack() if isinstance(stored, Packed) else stored

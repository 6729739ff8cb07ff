"""Adaptations whose finished tasks take one byte per parameter and can stay on disk (`softtf.adaptations.quantise`)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from softtf.adaptations.base import ALL_ROWS, Adaptation
from softtf.adaptations.hot import HotSlots
from softtf.adaptations.quantise import Quantised, quantise
from softtf.adaptations.slots import MappedSlot, TaskSlots, widened
from softtf.config.bounds import Between

Rank = Annotated[int, Between(1, 100_000)]
STEPS = "_steps"  # the end of the names of quantised matrices' steps


class LargeAdaptation(Adaptation):
    """An adaptation whose finished slots can stay on disk; values move to the weight's device when they are read.

    hot: leaves finished slots in their files, and has copies in memory of those that answered last; None: all slots
        are in memory.
    """

    hot: HotSlots | None = None

    def slot(self, task: int) -> nn.ParameterDict:
        """Return the parameters of task `task`'s network by name; of a slot on disk its copy, if it has one."""
        slot = super().slot(task)
        copy = self.hot.copy_of(slot) if self.hot is not None and isinstance(slot, MappedSlot) else None
        return slot if copy is None else copy

    def use(self, tasks: Sequence[int], device: torch.device) -> None:
        """Copy the slots of these tasks into memory, as far as the limit allows."""
        if self.hot is not None:
            slots = (TaskSlots.slot(self, task) for task in tasks)
            self.hot.use([slot for slot in slots if isinstance(slot, MappedSlot)], device)

    def load_task(self, state: dict[str, Tensor]) -> None:
        """Append a finished task, in the form in which it was saved."""
        if self.hot is not None:
            self.slots.append(MappedSlot(state))
        else:
            super().load_task(state)


class QuantisedAdaptation(LargeAdaptation):
    """An adaptation whose parameters are matrices [rows, columns] and vectors.

    With `int8` a finished task's matrices take one byte per parameter, each within 1/254 of the largest deviation from
    `centre` in its row; vectors are exact.
    """

    centre: float = 0.0

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each matrix as codes under its own name, with its steps (`int8`), or the values themselves."""
        if self.storage != "int8":
            return self.rounded(values)
        matrices = {name: quantise(value, self.centre) for name, value in values.items() if value.ndim == 2}
        return (
            {name: value for name, value in values.items() if name not in matrices}
            | {name: matrix.codes for name, matrix in matrices.items()}
            | {name + STEPS: matrix.steps for name, matrix in matrices.items()}
        )

    def reopened(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the matrices, dequantised, and the vectors."""
        return {
            name: Quantised(value, state[name + STEPS], self.centre).dequantised()
            if name + STEPS in state
            else widened(value)
            for name, value in state.items()
            if not name.endswith(STEPS)
        }

    def num_parameters(self, task: int) -> int:
        """Return the number of trained parameters; steps do not count."""
        return sum(value.numel() for name, value in self.own_slot(task).items() if not name.endswith(STEPS))

    def stored(self, task: int, name: str) -> Tensor | Quantised:
        """Return a matrix: in training its values, quantised if its task is finished."""
        slot = self.slot(task)
        values: Tensor = slot[name]
        return Quantised(values, slot[name + STEPS], self.centre) if name + STEPS in slot else values

    def matrix(self, task: int, name: str, device: torch.device, rows: slice = ALL_ROWS) -> Tensor:
        """Return rows of a matrix on a device, in float32 or wider; only these rows are dequantised."""
        stored = self.stored(task, name)[rows].to(device)
        return stored.dequantised() if isinstance(stored, Quantised) else widened(stored)

"""Heads without parameters, for methods in which something other than each task's own head answers."""

import torch
from torch import Tensor

from softtf.adaptations.slots import Heads


class ClassCounts(Heads):
    """How many classes each task has, and nothing else."""

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return an empty tensor whose length is the task's number of classes."""
        return {"columns": torch.zeros(num_classes, 0)}

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the values: there is nothing to round."""
        return values

    def num_classes(self, task: int) -> int:
        """Return how many classes task `task` has."""
        return len(self.slot(task)["columns"])

"""HiDe-Prompt's prefixes, one per task, each blended with the earlier ones, and NoRGa's gate on their scores."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation, Selection
from softtf.adaptations.prefix import ExpertPrefix

Activation = Literal["sigmoid", "tanh", "gelu"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
}


class BlendedPrefix(ExpertPrefix):
    """In training, a task's network reads (1 - share) p_t + share times the mean of the earlier tasks' prefixes.

    `settle` makes that the task's prefix.
    """

    share = 0.01

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return the selected task's prefix, blended while it is trained."""
        found = super().prefix(block, selection)
        if found is None or selection is None or selection.task is None:
            return found
        name = f"layer{block + 1:02d}_prefix"
        return self._blended(selection.task, name)[None] if self.slot(selection.task)[name].requires_grad else found

    @torch.no_grad()
    def settle(self) -> None:
        """Replace the newest task's prefixes by the blended ones that its network read."""
        task = self.num_tasks - 1
        for name, value in self.slot(task).items():
            value.copy_(self._blended(task, name))

    def _blended(self, task: int, name: str) -> Tensor:
        value = self.value(task, name)
        if not task:
            return value
        return value.lerp(torch.stack([self.value(t, name) for t in range(task)]).mean(0), self.share)


class PrefixGate(Adaptation):
    """alpha act(tau s) is added to the score s of each key of a prefix; alpha and tau are per block and start at 1.

    The first task trains them, and all tasks read them.

    Args:
        blocks: from 0.
        activation: act.
    """

    first_only = True

    def __init__(self, blocks: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.blocks, self.activation = frozenset(blocks), activation

    @property
    def task_blocks(self) -> frozenset[int]:
        """The blocks that have a gate."""
        return self.blocks

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return alpha and tau of each block."""
        return {f"layer{b + 1:02d}_{name}": torch.ones(()) for b in sorted(self.blocks) for name in ("alpha", "tau")}

    def gate(self, block: int, selection: Selection | None) -> Callable[[Tensor], Tensor] | None:
        """Return the function that gives what is added to the scores of a prefix's keys in `block`."""
        if block not in self.blocks or selection is None:
            return None
        slot = self.slot(0)
        alpha, tau = (slot[f"layer{block + 1:02d}_{name}"] for name in ("alpha", "tau"))
        return lambda scores: alpha.to(scores) * ACTIVATIONS[self.activation](tau.to(scores) * scores)

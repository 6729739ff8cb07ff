"""A prompt after an image's tokens (visual prompt tuning): [class] attends to it in every block and is still read."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from softtf.adaptations.base import Adaptation, Selection


class AppendedPrompt(Adaptation):
    """One prompt [length, dim] ~ N(0, 0.02) for all tasks; like L2P's prompts it has no positions.

    norm: the norm that the prompt passes first, as the tokens did; None if it passes none.
    """

    shared_blocks = frozenset({0})

    def __init__(
        self, length: int, dim: int, generator: torch.Generator, norm: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(length, dim, generator=generator) * 0.02)
        self.norm = norm

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: no parameter belongs to one task."""
        return {}

    def appended(self, selection: Selection | None) -> Tensor | None:
        """Return the prompt [1, length, dim], which all tasks share."""
        if selection is not None:
            return None
        return (self.norm(self.prompt) if self.norm else self.prompt)[None]

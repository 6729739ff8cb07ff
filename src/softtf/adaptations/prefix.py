"""Prefix-tuning prompts (DualPrompt): learned keys and values put before a block's own in its attention."""

from typing import Annotated

import torch
from torch import Tensor, nn

from softtf.adaptations.base import Adaptation, Selection, stack_slots
from softtf.backbones.answering import once
from softtf.config.bounds import Between

Length = Annotated[int, Between(1, 10_000)]
"""The length of a prompt, in tokens."""


def _new_prompt(length: int, dim: int, generator: torch.Generator) -> Tensor:
    """Return keys and values [2, length, dim] ~ U(-1, 1)."""
    return torch.rand(2, length, dim, generator=generator) * 2 - 1


def _key(block: int) -> str:
    return f"layer{block + 1:02d}_prefix"


class GeneralPrefix(Adaptation):
    """The G-prompt: one prefix per block, which all tasks share and train."""

    def __init__(self, blocks: tuple[int, ...], length: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.shared_blocks = frozenset(blocks)
        self.prompts = nn.ParameterDict({_key(b): nn.Parameter(_new_prompt(length, dim, generator)) for b in blocks})

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: no parameter belongs to one task."""
        return {}

    def trained(self) -> dict[int, nn.Parameter]:
        """Return the prefix [2, length, dim] of each block, unless it is frozen."""
        prefixes = {block: self.prompts[_key(block)] for block in sorted(self.shared_blocks)}
        return {block: prefix for block, prefix in prefixes.items() if prefix.requires_grad}

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return the shared prefix [1, 2, length, dim]."""
        return self.prompts[_key(block)][None] if block in self.shared_blocks else None


class ExpertPrefix(Adaptation):
    """The E-prompt: one prefix per block and task; a new task's starts as a copy of the previous task's."""

    starts_from_last = True

    def __init__(self, blocks: tuple[int, ...], length: int, dim: int) -> None:
        super().__init__()
        self.blocks, self.length, self.dim = frozenset(blocks), length, dim

    @property
    def task_blocks(self) -> frozenset[int]:
        """The blocks that have a prefix."""
        return self.blocks

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the previous task's prefixes, or U(-1, 1) for the first task."""
        if self.num_tasks:
            last = self.num_tasks - 1
            return {name: self.value(last, name).detach().clone() for name in self.slot(last)}
        return {_key(b): _new_prompt(self.length, self.dim, generator) for b in sorted(self.blocks)}

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the prefixes as `storage` says."""
        return self.rounded(values)

    def trained(self) -> dict[int, nn.Parameter]:
        """Return the newest task's prefix [2, length, dim] of each block."""
        return {block: self.slot(self.num_tasks - 1)[_key(block)] for block in sorted(self.blocks)}

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return the selected task's prefix [1, 2, length, dim], or one per sample [batch, 2, length, dim]."""
        if block not in self.blocks or selection is None:
            return None
        if selection.task is not None:
            return self.value(selection.task, _key(block))[None]
        prompts = once(self, block, lambda: stack_slots(self, _key(block)))
        if selection.prompts is not None:
            return prompts[selection.prompts]
        assert selection.mixture is not None
        mixed: Tensor = torch.einsum("bt,tkpd->bkpd", selection.mixture.to(prompts.dtype), prompts)
        return mixed

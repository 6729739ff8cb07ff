"""Prompts of all tasks so far beside the input: a task trains one of its own, next to those before it, frozen."""

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation, Selection


class ProgressivePrompt(Adaptation):
    """One prompt [length, dim] ~ U(-1, 1) a task; task t's network is given those of tasks 0 to t.

    While it is trained, the new prompt p goes through a residual network of the task's own, p + up(relu(down p)); of a
    finished task only what came out is kept. Prompts follow the embedding's own norm and have no positions, so that it
    does not matter where they stand.

    Args:
        length: of a prompt, in tokens.
        hidden: units of the residual network; 0 for none.
        dim: of the tokens.
    """

    reads_earlier = True
    task_blocks = frozenset({0})

    def __init__(self, length: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.length, self.hidden, self.dim = length, hidden, dim

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return a prompt and the residual network, its numbers uniform in +-1/sqrt(inputs)."""

        def uniform(*shape: int, scale: float) -> Tensor:
            return (torch.rand(*shape, generator=generator) * 2 - 1) * scale

        slot = {"prompt": uniform(self.length, self.dim, scale=1)}
        if not self.hidden:
            return slot
        narrow, wide = self.dim**-0.5, self.hidden**-0.5
        return slot | {
            "down": uniform(self.hidden, self.dim, scale=narrow),
            "down_bias": uniform(self.hidden, scale=narrow),
            "up": uniform(self.dim, self.hidden, scale=wide),
            "up_bias": uniform(self.dim, scale=wide),
        }

    def packed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the prompt that came out of the residual network."""
        return self.rounded({"prompt": reparameterised(values)})

    def appended(self, selection: Selection | None) -> Tensor | None:
        """Return the prompts of task t and those before it, [1, (t + 1) * length, dim]."""
        if selection is None:
            return None
        assert selection.task is not None, "prompts of different tasks differ in number and have no mixture"
        slots = ({name: self.value(task, name) for name in self.slot(task)} for task in range(selection.task + 1))
        return torch.cat([reparameterised(slot) for slot in slots])[None]


def reparameterised(slot: dict[str, Tensor]) -> Tensor:
    """Return p + up(relu(down p)), or p where there is no residual network."""
    prompt = slot["prompt"]
    if "down" not in slot:
        return prompt
    return prompt + F.linear(F.linear(prompt, slot["down"], slot["down_bias"]).relu(), slot["up"], slot["up_bias"])

"""Prompts of all tasks so far beside the input: a task trains its own prompt next to the frozen earlier ones."""

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation, Selection


class ProgressivePrompt(Adaptation):
    """One prompt [length, dim] ~ U(-1, 1) per task; task t's network gets those of tasks 0 to t.

    In training, the new prompt p passes through the task's own residual network, p + up(relu(down p)). A finished task
    keeps only the output. Prompts follow the embedding's norm and have no positions, so their place does not matter.

    Args:
        length: tokens of a prompt.
        hidden: units of the residual network; 0 means no such network.
        dim: dimension of the tokens.
    """

    reads_earlier = True
    task_blocks = frozenset({0})

    def __init__(self, length: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.length, self.hidden, self.dim = length, hidden, dim

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return a prompt and the residual network, whose parameters are uniform in +-1/sqrt(inputs)."""

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

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the output of the residual network."""
        return self.rounded({"prompt": reparameterised(values)})

    def reopened(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the prompt, and a residual network that adds nothing to it yet."""
        prompt = super().reopened(state)["prompt"]
        nothing = {"up": prompt.new_zeros(self.dim, self.hidden), "up_bias": prompt.new_zeros(self.dim)}
        return {"prompt": prompt, **(nothing if self.hidden else {})}

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

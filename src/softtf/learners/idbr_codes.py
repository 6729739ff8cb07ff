"""The small heads of IDBR: its two codes, next-sentence prediction, and the classifier of a text's task."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.slots import Heads, TaskSlots


class Codes(TaskSlots):
    """Both codes of a feature, and next-sentence prediction; all tasks share them."""

    def __init__(self, dim: int, size: int, generator: torch.Generator) -> None:
        super().__init__()

        def uniform(*shape: int, inputs: int) -> nn.Parameter:
            return nn.Parameter((torch.rand(*shape, generator=generator) * 2 - 1) * inputs**-0.5)

        self.weight, self.bias = uniform(2 * size, dim, inputs=dim), uniform(2 * size, inputs=dim)
        self.order_weight, self.order_bias = uniform(2, size, inputs=size), uniform(2, inputs=size)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: no parameter belongs to one task."""
        return {}

    def forward(self, features: Tensor) -> Tensor:
        """Return g and s side by side, [b, 2 size], of features [b, dim]."""
        return F.linear(features, self.weight.to(features), self.bias.to(features)).tanh()

    def order(self, general: Tensor) -> Tensor:
        """Return logits [b, 2], for halves in order and halves swapped, from g [b, size]."""
        return F.linear(general, self.order_weight.to(general), self.order_bias.to(general))


class TaskClassifier(Heads):
    """One logit per task, from the specific code; every task trains all of them."""

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the values for one more logit."""
        return super().new_slot(1, generator)

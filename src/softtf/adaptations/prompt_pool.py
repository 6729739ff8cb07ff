"""The pool of prompts of L2P (Wang et al., 2022): each sample takes the prompts whose keys are nearest to its query."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation


class PromptPool(Adaptation):
    """Prompts p_i [length, dim] with keys k_i, all shared by all tasks; `top_k` of them precede a sample's tokens.

    The sequence that enters block 1 is [prompts; class; patches]: prompts follow the embedding's norm and have no
    positions. The features are the mean of the output at the prompts' places, so every prompt changes them.

    Args:
        size: number of prompts.
        length: tokens of each prompt.
        top_k: prompts that a sample takes.
        dim: dimension of the tokens and the query.
        key_scale: keys start as U(-key_scale, key_scale), prompts as U(-1, 1).
        generator: of these values.
    """

    shared_blocks = frozenset({0})
    reads_query = True

    def __init__(
        self, size: int, length: int, top_k: int, dim: int, key_scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.top_k = top_k
        self.prompts = nn.Parameter(torch.rand(size, length, dim, generator=generator) * 2 - 1)
        self.keys = nn.Parameter((torch.rand(size, dim, generator=generator) * 2 - 1) * key_scale)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: no parameter belongs to one task."""
        return {}

    def similarities(self, query: Tensor) -> Tensor:
        """Return cos(q, k_i) [batch, size]."""
        return F.normalize(query, dim=-1) @ F.normalize(self.keys.to(query.dtype), dim=-1).T

    def chosen(self, query: Tensor) -> Tensor:
        """Return the indices of each sample's prompts, [batch, top_k], in the pool's order."""
        return self.similarities(query).topk(self.top_k).indices.sort().values

    def matching_loss(self, query: Tensor) -> Tensor:
        """Return the sum of 1 - cos(q, k_i) over the chosen keys, averaged over queries [batch, dim]."""
        return (1 - self.similarities(query).gather(1, self.chosen(query))).sum(1).mean()

    def prepended(self, query: Tensor | None) -> Tensor | None:
        """Return each sample's prompts one after another, [batch, top_k * length, dim]."""
        assert query is not None
        return self.prompts[self.chosen(query)].flatten(1, 2)

"""The prompt components of CODA-Prompt: each sample's prefix is a weighted sum of its task's and earlier components.

In a block, each component m has a key K_m, an attention vector A_m and a prompt P_m:

    w_m = cos(q(x) * A_m, K_m)     prefix = sum_m w_m P_m

w is not a softmax and may be negative. The first half of the prefix are keys, the second half values.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation, Selection

PARTS = ("keys", "attention", "prompts")


class PromptComponents(Adaptation):
    """`count` new components per task in each block; task t's network reads those of tasks 0 to t.

    They start as rows of length 1, orthogonal to each other and to all earlier ones as far as the dimension allows.

    Args:
        blocks: from 0.
        count: new components per task.
        length: tokens of a prompt; an even number.
        dim: dimension of the tokens and the query.
    """

    reads_query = True
    reads_earlier = True

    def __init__(self, blocks: tuple[int, ...], count: int, length: int, dim: int) -> None:
        super().__init__()
        self.blocks = frozenset(blocks)
        self.sizes = {"keys": (count, dim), "attention": (count, dim), "prompts": (count, length, dim)}

    @property
    def task_blocks(self) -> frozenset[int]:
        """The blocks that have a prefix."""
        return self.blocks

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the new components of each block."""
        slot = {}
        for block in sorted(self.blocks):
            for part, size in self.sizes.items():
                rows = [self.value(t, _key(block, part)).detach().cpu().flatten(1) for t in range(self.num_tasks)]
                new = torch.randn(size, generator=generator).flatten(1)
                slot[_key(block, part)] = orthonormal(torch.cat([*rows, new]), len(new)).view(size)
        return slot

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the components as `storage` says."""
        return self.rounded(values)

    def forms(self, num_classes: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the forms of the next task's components; they do not depend on its classes."""
        sizes = {_key(block, part): size for block in sorted(self.blocks) for part, size in self.sizes.items()}
        trained = {name: torch.empty(size, device="meta") for name, size in sizes.items()}
        return trained, self.closed(trained)

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return each sample's prefix [batch, 2, length / 2, dim]."""
        if block not in self.blocks or selection is None:
            return None
        assert selection.query is not None
        query, found = selection.query, []
        for task in range(self.num_tasks if selection.task is None else selection.task + 1):
            keys, attention, prompts = (self.value(task, _key(block, part)).to(query) for part in PARTS)
            weights = F.cosine_similarity(query[:, None] * attention, keys, dim=-1)  # [batch, count]
            found.append(_share(selection, task, query) * torch.einsum("bm,mld->bld", weights, prompts))
        return torch.stack(found).sum(0).view(query.shape[0], 2, -1, query.shape[1])

    def orthogonality(self) -> Tensor:
        """Return the mean of (X X^T - I)^2, summed over blocks and kinds of components; X has all rows so far."""
        terms = []
        for block in sorted(self.blocks):
            for part in PARTS:
                rows = torch.cat([self.value(t, _key(block, part)).flatten(1) for t in range(self.num_tasks)])
                terms.append(
                    (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).square().mean()
                )
        return torch.stack(terms).sum()


def _share(selection: Selection, task: int, query: Tensor) -> Tensor:
    """Return task `task`'s share of each sample, [batch or 1, 1, 1] as `query`; later tasks read its components too."""
    if selection.task is not None:
        return query.new_ones(1, 1, 1)
    if selection.prompts is not None:
        return (selection.prompts >= task)[:, None, None].to(query)
    assert selection.mixture is not None
    return selection.mixture[:, task:].sum(1)[:, None, None].to(query)


def orthonormal(rows: Tensor, count: int) -> Tensor:
    """Return the last `count` of rows [n, size], made orthogonal to those before them and of length 1 (Gram-Schmidt).

    If n exceeds the size, they cannot be orthogonal and are only scaled to length 1.
    """
    if len(rows) > rows.shape[1]:
        return F.normalize(rows[-count:])
    q, r = torch.linalg.qr(rows.double().T)
    signs = r.diagonal().sign()
    found: Tensor = (q * signs)[:, -count:].T.to(rows.dtype)
    return found.contiguous()


def _key(block: int, part: str) -> str:
    return f"layer{block + 1:02d}_{part}"

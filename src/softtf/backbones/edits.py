"""Several edits of one block become one: prefixes of one task, or all edits of several tasks side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softtf.backbones.base import BlockEdit


def joined(prefixes: Sequence[Tensor]) -> Tensor | None:
    """Concatenate several prefixes of one block, [batch or 1, 2, length, dim]; None if there are none."""
    if len(prefixes) < 2:
        return prefixes[0] if prefixes else None
    batch = max(len(p) for p in prefixes)
    return torch.cat([p.expand(batch, -1, -1, -1) for p in prefixes], 2)


def side_by_side(edits: Sequence[BlockEdit], rows: Sequence[slice]) -> BlockEdit:
    """Return the edit that does to each run of rows what that run's own edit does; weights are left out.

    The rows of a batch are sorted by task.

    Args:
        edits: of one block, one for each run; they differ in values, not in kind or in a prefix's length.
        rows: the runs, which cover the batch in order.
    """
    first = edits[0]
    prefix = None
    if first.prefix is not None:
        parts = zip((edit.prefix for edit in edits), rows, strict=True)
        prefix = torch.cat([part.expand(run.stop - run.start, -1, -1, -1) for part, run in parts if part is not None])
    outputs = {name: _outputs([edit.outputs[name] for edit in edits], rows) for name in first.outputs}
    gates = [edit.gate for edit in edits if edit.gate is not None]
    gate = _gates(gates, rows) if gates else None
    return BlockEdit({}, prefix, outputs, gate)


def _outputs(
    functions: Sequence[Callable[[Tensor, Tensor], Tensor]], rows: Sequence[slice]
) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: torch.cat([f(x[run], y[run]) for f, run in zip(functions, rows, strict=True)])


def _gates(gates: Sequence[Callable[[Tensor], Tensor]], rows: Sequence[slice]) -> Callable[[Tensor], Tensor]:
    return lambda scores: torch.cat([gate(scores[run]) for gate, run in zip(gates, rows, strict=True)])

"""The gradient of a whole batch from those of all processes, each of which had some of its rows."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from softtf.devices.processes import count, summed


def combine(parameters: Sequence[nn.Parameter], losses: Mapping[str, Tensor], share: float) -> Mapping[str, Tensor]:
    """Add up the gradients of all processes, in place, and return the losses of the whole batch.

    A parameter that has a gradient in some processes counts as zero in the others; one without in all has none.

    Args:
        parameters: in the same order in all processes; each has the gradient of this process's loss times its share.
        losses: by name, of this process's rows.
        share: of the batch's rows.

    Raises:
        LostProcessError: another process has ended.
    """
    if count() == 1:
        return losses
    found = [p.grad is not None for p in parameters]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    values = torch.stack([value.detach() for value in losses.values()]) * share
    have = torch.tensor(found, device=values.device)
    flat = summed(torch.cat([values, have.to(values), *(g.flatten() for g in gradients)]))
    sizes = [len(values), len(found), *(g.numel() for g in gradients)]
    totals, somewhere, *sums = flat.split(sizes)
    known = found if all(found) else somewhere.tolist()  # the list waits for the device
    for parameter, has, total in zip(parameters, known, sums, strict=True):
        parameter.grad = total.view_as(parameter).to(parameter.dtype) if has else None
    return dict(zip(losses, totals, strict=True))

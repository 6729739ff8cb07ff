"""Check that a step is the same work for every batch, so that a GPU can record it once and replay it."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from softtf.learners import Learner
from softtf.learners.base import Batch
from softtf.testing.laws import law
from softtf.training.recorded import NOT_READ

WHERE = torch.device("meta")  # its tensors have shapes and no values


def check_fixed_step(learner: Learner, batch: Batch) -> None:
    """Check that loss and gradients need no value of a batch, and nothing of it but inputs, targets and query.

    `Learner.step_is_fixed` says so. The learner's parameters are moved to torch's device "meta": it is of no use
    afterwards.
    """
    learner.to(WHERE)
    for held in [held for held in vars(learner).values() if isinstance(held, dict)]:  # the memory, for one
        held |= {name: value.to(WHERE) for name, value in held.items() if isinstance(value, Tensor)}
    query = None if batch.query is None else batch.query.to(WHERE)
    there = Batch(batch.inputs.to(WHERE), batch.targets.to(WHERE), NOT_READ, query, NOT_READ)
    try:
        with _NothingBrought():  # type: ignore[no-untyped-call]
            torch.stack(list(learner.loss(there).values())).sum().backward()
    except Exception as error:
        found = f" ({type(error).__name__}: {error})"
    else:
        found = ""
    law(not found, f"a step is the same work for every batch, as step_is_fixed says{found}")
    law(any(p.grad is not None for p in learner.trained_parameters().values()), "a step sets gradients")


class _NothingBrought(TorchDispatchMode):
    """Refuses copies from the CPU to the device: a recorded step cannot have them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
        if isinstance(found, Tensor) and found.is_meta and not all(x.is_meta for x in tensors):
            raise RuntimeError("a tensor was made on the CPU and copied to the batch's device")
        return found

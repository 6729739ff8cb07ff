"""Check that a step is the same work for every batch, so that a GPU can record it once and replay it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from softtf.learners import Learner
from softtf.learners.base import Batch
from softtf.testing.laws import equal, law
from softtf.training.gradient import GradientTraining
from softtf.training.recorded import NOT_READ, Losses, RecordingBy

WHERE = torch.device("meta")  # its tensors have shapes and no values


def check_fixed_step(learner: Learner, batch: Batch) -> None:
    """Check that loss and gradients need no value of a batch, and nothing of it but inputs, targets and query.

    `Learner.step_is_fixed` says so. The learner's parameters are moved to torch's device "meta": it is of no use
    afterwards. That each operation is one that a GPU can record, this cannot tell.
    """
    learner.to(WHERE)
    for held in [held for held in vars(learner).values() if isinstance(held, dict)]:  # the memory, for one
        held |= {name: value.to(WHERE) for name, value in held.items() if isinstance(value, Tensor)}
    query = None if batch.query is None else batch.query.to(WHERE)
    there = Batch(batch.inputs.to(WHERE), batch.targets.to(WHERE), NOT_READ, query, NOT_READ)
    found = ""
    try:
        with _OnTheDevice():  # type: ignore[no-untyped-call]
            torch.stack(list(learner.loss(there).values())).sum().backward()
    except Exception as error:
        found = f" ({type(error).__name__}: {error})"
    law(not found, f"a step is the same work for every batch, as step_is_fixed says{found}")
    law(any(p.grad is not None for p in learner.trained_parameters().values()), "a step sets gradients")


class _OnTheDevice(TorchDispatchMode):
    """Refuses what a recorded step cannot have: values from the CPU, and places that depend on values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        name = func._schema.name
        brought = any(not x.is_meta and (x.dim() or "copy" in name) for x in tensors) or name == "aten::lift_fresh"
        if isinstance(found, Tensor) and found.is_meta and brought:
            raise RuntimeError("a tensor was made on the CPU and copied to the batch's device")
        if "index" in name and any(x.dtype == torch.bool for x in tree_leaves(args[1:]) if isinstance(x, Tensor)):
            raise RuntimeError("a mask was used as an index")
        return found


def check_replays(begin: Callable[[bool], GradientTraining]) -> None:
    """Check that a task trains to the same values, bit for bit, where its steps are recorded and replayed.

    A stand-in for a GPU's graph repeats the recorded operations on the same memory, and runs no Python: so it repeats
    what the loss had read of anything else that changes from step to step.

    Args:
        begin: opens the same task anew; True for one whose steps are recorded.
    """
    values = []
    for record in (False, True):
        with replaying():
            training = begin(record)
            while not training.finished:
                training.run_epoch()
            values.append(training.state())
    law(equal(*values), "a step that is replayed trains as one that is run, as step_is_fixed says")


def replaying() -> RecordingBy:
    """Return a context in which steps are recorded on a CPU, too, and replayed by the stand-in."""
    return RecordingBy(record)


def record(step: Callable[[], Losses], *_: object) -> tuple["Operations", Losses]:
    """Return the operations of a step, and its losses; stands for a GPU."""
    step()
    with Operations() as done:
        losses = {name: value.detach() for name, value in step().items()}
    return done, losses


class Operations(TorchDispatchMode):
    """The operations of a step, in order, and the memory that each of them reads and writes."""

    replays = 0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, _tensors(found)))
        return found

    def pool(self) -> None:
        """Stands for the graph's memory, in which the next one is recorded."""

    @torch.no_grad()
    def replay(self) -> None:
        """Do the same operations again, on the same memory."""
        Operations.replays += 1
        for func, args, kwargs, written in self.done:
            read = {x.untyped_storage().data_ptr() for x in _tensors((args, kwargs)) if x.numel()}
            in_place = func._schema.is_mutable
            if not in_place and all(x.untyped_storage().data_ptr() in read for x in written if x.numel()):
                continue  # a view of what it reads
            new = _tensors(func(*args, **kwargs))
            for old, value in zip(written, new, strict=True):
                if not in_place and old.data_ptr() != value.data_ptr():
                    old.copy_(value)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]

"""Parameters with one slot per task: no task changes another's slot, and a learner saves one small file per task.

What tasks share (a G-prompt, a pool of prompts, a whole network) is in no slot, and every task trains it further.
"""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from softtf.adaptations.quantise import halve
from softtf.backbones.answering import once

Storage = Literal["int8", "float16", "float32"]
"""How a finished task's own parameters are kept, in memory and on disk (`LearnerSpec.storage`)."""


class TaskSlots(nn.Module):
    """A module whose parameters are in one slot per task; a slot takes memory only once its task exists.

    Subclasses define what a new slot holds (`new_slot`), and in which form it is kept once its task is finished
    (`closed`). Parameters that all tasks share are ordinary parameters of the subclass.

    Attributes:
        storage: how finished slots are kept; the learner sets it.
    """

    retrained = False  # True: later tasks train every slot, so all slots count as shared
    first_only = False  # True: the first task's slot serves all tasks; those of later tasks are empty
    starts_from_last = False  # True: a new slot starts as a copy of the last one
    reads_earlier = False  # True: a task's network reads the slots of earlier tasks
    rate_factor = 1.0  # its parameters' learning rate as a multiple of the training's
    storage: Storage = "int8"

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.ModuleList()

    @abstractmethod
    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the initial values of the next task's parameters by name; names have no dots."""

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what a finished task's slot holds instead of its trained values; by default the same values.

        If everything reads slots by `value`, a subclass can return `self.rounded(values)`.
        """
        return values

    def rounded(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return values in float16 if `storage` says so; otherwise as they are."""
        return {name: halve(value) for name, value in values.items()} if self.storage == "float16" else values

    def reopened(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the values that a finished slot's training goes on from; it cannot if a new slot lacks one's name."""
        return {name: widened(value) for name, value in state.items()}

    @property
    def num_tasks(self) -> int:
        """Number of tasks that have a slot."""
        return len(self.slots)

    def slot(self, task: int) -> nn.ParameterDict:
        """Return the parameters of task `task`'s network by name: its own; with `first_only`, the first task's."""
        return self.own_slot(0 if self.first_only else task)

    def own_slot(self, task: int) -> nn.ParameterDict:
        """Return the parameters that belong to task `task` itself, by name."""
        slot = self.slots[task]
        assert isinstance(slot, nn.ParameterDict)
        return slot

    def value(self, task: int, name: str) -> Tensor:
        """Return a parameter of task `task` for computing; one kept in float16 is returned in float32."""
        return widened(self.slot(task)[name])

    def add_task(self, num_classes: int, generator: torch.Generator) -> None:
        """Open the next task's slot and freeze all earlier ones."""
        values = self._next_slot(num_classes, generator)
        self.freeze()
        self.slots.append(nn.ParameterDict({name: nn.Parameter(value) for name, value in values.items()}))

    def _next_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {} if self.first_only and self.num_tasks else self.new_slot(num_classes, generator)

    def freeze(self) -> None:
        """Close the slots that were trained: nothing in them changes again."""
        if self._newest_is_open:
            self.close(self.num_tasks - 1, self.task_state_dict(self.num_tasks - 1))

    @property
    def _newest_is_open(self) -> bool:
        """Whether the newest slot is in training; no other can be."""
        newest = self.own_slot(self.num_tasks - 1).values() if self.num_tasks and not self.retrained else ()
        return any(parameter.requires_grad for parameter in newest)

    def close(self, task: int, values: dict[str, Tensor]) -> None:
        """Keep values, in the form of `closed`, as the finished slot of task `task`."""
        self.slots[task] = nn.ParameterDict(_closed(self.closed(values)))

    def forms(self, num_classes: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the forms of the next task's slot: in training, and once the task is finished.

        A form is a tensor without values, on the device `meta`; no random number is drawn.
        """
        generator = torch.Generator()
        with torch.device("meta"):
            trained = {name: value.to("meta") for name, value in self._next_slot(num_classes, generator).items()}
            return trained, trained if self.retrained else self.closed(trained)

    def task_state_dict(self, task: int) -> dict[str, Tensor]:
        """Return task `task`'s values by name, detached."""
        return {name: value.detach() for name, value in self.own_slot(task).items()}

    def without_classes(self, state: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
        """Return a task's `task_state_dict` for the classes at `kept` alone; here all, as most have no columns."""
        return state

    def num_parameters(self, task: int) -> int:
        """Return the number of parameters that task `task` trained in its own slot."""
        return 0 if self.retrained else sum(value.numel() for value in self.own_slot(task).values())

    def load_task(self, state: dict[str, Tensor]) -> None:
        """Append a finished slot that holds `state`, unchanged."""
        self.slots.append(nn.ParameterDict(_closed(state)).requires_grad_(self.retrained))

    def own_parameters(self, task: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the name and value of each parameter that belongs to task `task` alone."""
        return iter(()) if self.retrained else iter(self.own_slot(task).items())

    def shared_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the name and value of each parameter that all tasks share; unless `retrained`, no slot is looked at."""
        if self.retrained:
            return self.named_parameters()
        beside = ((name, child) for name, child in self.named_children() if name != "slots")
        below = ((f"{name}.{n}", p) for name, child in beside for n, p in child.named_parameters())
        return chain(self.named_parameters(recurse=False), below)

    def finished_slots(self) -> list[nn.Module]:
        """Return the slots that are never changed again; copies of a learner share them."""
        return [] if self.retrained else [*self.slots][: self.num_tasks - self._newest_is_open]


class MappedSlot(nn.ParameterDict):
    """A finished slot whose values are mapped from a file; they stay there wherever the module is moved."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__(_closed(state))

    def _apply(self, fn: Any, recurse: bool = True) -> "MappedSlot":
        return self


def widened(value: Tensor) -> Tensor:
    """Return a float16 tensor in float32, any other as it is."""
    return value.float() if value.dtype == torch.float16 else value


def _closed(state: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(value, requires_grad=False) for name, value in state.items()}


class Heads(TaskSlots):
    """One linear classifier per task, over its own classes; logits over several tasks are their columns side by side.

    Args:
        dim: dimension of the features.
        retrained: whether later tasks train the classifiers of earlier ones.
    """

    def __init__(self, dim: int, retrained: bool = False) -> None:
        super().__init__()
        self.dim, self.retrained = dim, retrained

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return weight [classes, dim] ~ N(0, 0.02) and bias zero."""
        weight = torch.randn(num_classes, self.dim, generator=generator) * 0.02
        return {"weight": weight, "bias": torch.zeros(num_classes)}

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the values as `storage` says."""
        return self.rounded(values)

    def num_classes(self, task: int) -> int:
        """Return how many classes task `task` has."""
        return len(self.slot(task)["bias"])

    def without_classes(self, state: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
        """Return the rows of these classes."""
        return {name: value[kept.to(value.device)] for name, value in state.items()}

    def forward(self, features: Tensor, tasks: range) -> Tensor:
        """Return logits [batch, classes of `tasks`] of features [batch, dim]."""
        weight, bias = (self._side_by_side(name, tasks, features.dtype) for name in ("weight", "bias"))
        return nn.functional.linear(features, weight, bias)

    def _side_by_side(self, name: str, tasks: range, dtype: torch.dtype) -> Tensor:
        def together() -> Tensor:
            return torch.cat([self.value(task, name) for task in tasks]).to(dtype)

        return once(self, (name, dtype), together) if tasks == range(self.num_tasks) else together()

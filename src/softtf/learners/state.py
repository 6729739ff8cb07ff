"""What a learner holds, by name: slots, shared parameters, memory and statistics; it is saved and copied as a whole."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads, Storage, TaskSlots
from softtf.backbones.base import Backbone
from softtf.devices import processes
from softtf.errors import UserError
from softtf.files.tensor_form import Forms, check_forms, form_like
from softtf.files.tensors import checksum
from softtf.learners.shares import Shares, TaskShares
from softtf.network import AdaptedNetwork
from softtf.seeds import derive_seed
from softtf.statistics import Statistics

MEMORY = "memory."
STATISTICS = MEMORY + "statistics."


class LearnerState(nn.Module):
    """The state of a learner, without its method.

    network: the frozen backbone, its adaptations and the classifiers.
    extra_slots: further modules with one slot per task, such as keys.
    memory: other tensors that the method remembers from task to task (exemplars, sums), by name. `memory_forms`
    declares them. They are replaced, never changed in place, and saved with what all tasks share.
    statistics: of frozen features or of the learner's own scores, by the name of the task inference that reads them.
    gathered: what each of the statistics has gathered; kept as `memory` is, but not read by the method itself.
    shares: what each finished task added to sums; never changed, and saved with the task.
    shared_before: while a task trains, the shared values from before it, by the names of `shared_state_dict`.
    """

    def __init__(
        self,
        backbone: Backbone,
        adaptations: Sequence[Adaptation],
        seed: int,
        extra_slots: Mapping[str, TaskSlots] | None = None,
        heads: Heads | None = None,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.network = AdaptedNetwork(backbone, adaptations, heads or Heads(backbone.dim))
        self.extra_slots = nn.ModuleDict(dict(extra_slots or {}))
        self.statistics = nn.ModuleDict()
        self.memory: dict[str, Tensor] = {}
        self.gathered: dict[str, dict[str, Tensor]] = {}
        self.shares = Shares()
        self.shared_before: dict[str, Tensor] = {}
        self.eval()

    @property
    def num_tasks(self) -> int:
        """Number of tasks that have been begun."""
        return self.network.heads.num_tasks

    @property
    def num_classes(self) -> int:
        """Number of classes seen, each a column of the logits."""
        return sum(map(self.network.heads.num_classes, range(self.num_tasks)))

    def open_slots(self, num_classes: int) -> None:
        """Open a slot for the next task in every module; the values come from the learner's seed."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "task", self.num_tasks))
        device = next(self.network.backbone.parameters()).device
        for slots in self.slot_modules().values():
            slots.add_task(num_classes, generator)
            slots.own_slot(self.num_tasks - 1).to(device)

    @torch.no_grad()
    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Set the parameters of the newest task, which is in training, to those of a finished one (`task_state_dict`).

        Raises:
            UserError: what was trained is not kept.
        """
        for module_name, module in self.slot_modules().items():
            start, slot = f"{module_name}.", module.own_slot(self.num_tasks - 1)
            own = module.reopened({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
            if not own.keys() <= slot.keys():
                raise UserError(
                    f"a finished task keeps no {min(slot.keys() - own.keys())} of its {type(module).__name__}, from"
                    " which training could go on; remove the task, and learn it again with all its data"
                )
            for name, value in own.items():
                slot[name].copy_(value)

    def close_slots(self) -> None:
        """Close the newest task: nothing of it is trained again."""
        for slots in self.slot_modules().values():
            slots.freeze()
        self.shares = Shares([*self.shares.tasks, *[{}] * (self.num_tasks - len(self.shares.tasks))])
        self.shared_before = {}

    def store_as(self, storage: Storage) -> bool:
        """Keep every task that finishes from now on in this form; return whether finished tasks own any parameters."""
        types = []
        for each in ("float16", "float32", storage):
            for slots in self.slot_modules().values():
                slots.storage = each
            types.append([value.dtype for value in self.task_forms(1)[1].values()])
        return types[0] != types[1]

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the form of each tensor that `memory` holds after the tasks so far.

        A learner that is loaded is checked against them: exactly these tensors must be there.

        Args:
            labels: [columns so far], the label number of each logit column.
        """
        return {}

    def check_shared(self, values: Mapping[str, Tensor], labels: Tensor, where: str) -> None:
        """Refuse shared values that this learner cannot have after the tasks that it has.

        Args:
            values: by the names of `shared_state_dict`.
            labels: as for `memory_forms`.
            where: the source, such as the file, as messages name it.

        Raises:
            UserError: a name is missing or unknown, or a tensor has a wrong shape, type or value.
        """
        left = dict(values)
        for start, forms in self.shared_forms(labels).items():
            own = {name.removeprefix(start): left.pop(name) for name in [*left] if name.startswith(start)}
            check_forms(own, forms, where, start)

    def shared_forms(self, labels: Tensor) -> dict[str, Forms]:
        """Return the forms of what `shared_state_dict` returns, by the beginning of their names."""
        groups = dict[str, Forms]()
        for name, statistics in self.statistics.items():
            assert isinstance(statistics, Statistics)
            groups[f"{STATISTICS}{name}."] = statistics.forms(labels, self.num_tasks)
        groups[MEMORY] = self.memory_forms(labels)
        groups[""] = {name: form_like(parameter) for name, parameter in self.shared_parameters()}
        return groups

    def slot_modules(self) -> dict[str, TaskSlots]:
        """Return every module with slots, by a name that is the same in every run."""
        names = [type(a).__name__ for a in self.network.adaptations]
        counts, seen = Counter(names), Counter[str]()
        modules: dict[str, TaskSlots] = {"head": self.network.heads}
        for name, adaptation in zip(names, self.network.adaptations, strict=True):
            assert isinstance(adaptation, TaskSlots)
            seen[name] += 1
            modules[f"{name}{seen[name]}" if counts[name] > 1 else name] = adaptation
        for name, extra in self.extra_slots.items():
            assert isinstance(extra, TaskSlots)
            modules[name] = extra
        return modules

    def shared_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the name and value of each parameter that all tasks share."""
        for module_name, module in self.slot_modules().items():
            for name, parameter in module.shared_parameters():
                yield f"{module_name}.{name}", parameter

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the current task trains, by name."""
        task = self.num_tasks - 1
        mine = {
            f"{module_name}.task.{name}": parameter
            for module_name, module in self.slot_modules().items()
            for name, parameter in module.own_parameters(task)
        }
        return {n: p for n, p in ({**dict(self.shared_parameters()), **mine}).items() if p.requires_grad}

    def task_state_dict(self, task: int) -> dict[str, Tensor]:
        """Return one task's parameters in all modules."""
        return {
            f"{module_name}.{name}": value
            for module_name, module in self.slot_modules().items()
            for name, value in module.task_state_dict(task).items()
        }

    def task_forms(self, num_classes: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the forms of `task_state_dict` for the next task, without values: in training, and when finished."""
        trained: dict[str, Tensor] = {}
        finished: dict[str, Tensor] = {}
        for module_name, module in self.slot_modules().items():
            for whole, form in zip((trained, finished), module.forms(num_classes), strict=True):
                whole |= {f"{module_name}.{name}": value for name, value in form.items()}
        return trained, finished

    def load_task(self, state: Mapping[str, Tensor], shares: TaskShares | None = None) -> None:
        """Append a finished task: the values of its `task_state_dict`, and what it added to sums."""
        for module_name, module in self.slot_modules().items():
            start = f"{module_name}."
            module.load_task({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
        self.shares = Shares([*self.shares.tasks, shares or {}])

    def shared_state_dict(self) -> dict[str, Tensor]:
        """Return the values that all tasks share; those of the memory and of statistics are under `memory.`."""
        shared = {name: parameter.detach() for name, parameter in self.shared_parameters()}
        gathered = {f"{STATISTICS}{n}.{key}": v for n, found in self.gathered.items() for key, v in found.items()}
        return shared | {MEMORY + name: value for name, value in self.memory.items()} | gathered

    def check_alike(self) -> None:
        """Refuse to go on if the processes of a run hold different values of the newest task, or of what tasks share.

        Raises:
            UserError: they do; nothing that this learner learned is certain then.
        """
        task = self.num_tasks - 1

        def held() -> list[str]:
            own = [self.task_state_dict(task), self.shares.tensors(task)] if self.num_tasks else []
            return [checksum(part) for part in (*own, self.shared_state_dict())]

        processes.check_alike(f"parameters or sums after task {task + 1}", held)

    def load_shared(self, state: Mapping[str, Tensor]) -> None:
        """Set the values that all tasks share."""
        with torch.no_grad():
            for name, parameter in self.shared_parameters():
                parameter.copy_(state[name])
        kept = {k.removeprefix(MEMORY): v for k, v in state.items() if k.startswith(MEMORY)}
        self.memory = {k: v for k, v in kept.items() if not (MEMORY + k).startswith(STATISTICS)}
        self.gathered = {
            name: {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            for name in self.statistics
            for start in [f"{STATISTICS}{name}."]
        }

    def face(self) -> Self:
        """Return another object that has this state, and keeps it when this object goes on in a copy."""
        other: Self = object.__new__(type(self))
        other.become(self)
        return other

    def become(self, other: "LearnerState") -> None:
        """Take over another learner's state in one step that nothing can interrupt."""
        object.__setattr__(self, "__dict__", vars(other))

    def go_on(self) -> None:
        """Go on in a copy of the state: later changes to this object do not reach the objects that `face` gave.

        The copy owns everything that training may change in place, and shares everything else: backbones, the slots of
        finished tasks, the values of other closed parameters, the shares and the memory. `copy.deepcopy` must be able
        to copy anything else that a method holds from task to task.
        """
        before = self.face()
        shared: dict[int, Any] = {id(v): v for kept in (self.memory, *self.gathered.values()) for v in kept.values()}
        shared |= {id(self.shares): self.shares}
        for slots in self.slot_modules().values():
            shared |= {id(slot): slot for slot in slots.finished_slots()}
        for module in _modules_but(self, shared):
            if isinstance(module, Backbone):
                shared[id(module)] = module
            closed = (p for p in module.parameters(recurse=False) if not p.requires_grad)
            shared |= {id(p): nn.Parameter(p.detach(), False) for p in closed if id(p) not in shared}
        after = deepcopy(before, shared)
        after.shared_before = before.shared_state_dict()
        self.become(after)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the state once, even if several objects share it."""
        other: Self = object.__new__(type(self))
        memo[id(self)] = other
        object.__setattr__(other, "__dict__", deepcopy(vars(self), memo))
        return other


def _modules_but(module: nn.Module, left_out: Container[int]) -> Iterator[nn.Module]:
    """Yield a module and those inside it, without those whose ids are in `left_out` and what is inside these."""
    yield module
    for child in module.children():
        if id(child) not in left_out:
            yield from _modules_but(child, left_out)

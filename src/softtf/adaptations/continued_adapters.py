"""Adapters that continue from one task to the next, and a universal adapter that is merged from all (MOS, TUNA)."""

import torch
from torch import Tensor, nn

from softtf.adaptations.adapter import Adapter, Adapters
from softtf.adaptations.base import Layers
from softtf.backbones.base import Backbone

UNIVERSAL = -1


class ContinuedAdapters(Adapters):
    """A new task's adapters start as the previous task's; all are kept in float32.

    The index `UNIVERSAL` stands for the adapters that are merged from all tasks' (`merged`).
    """

    starts_from_last = True
    _universal: tuple[nn.ParameterDict] = (nn.ParameterDict(),)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the previous task's values; for the first task, initial values."""
        if not self.num_tasks:
            return super().new_slot(num_classes, generator)
        return {name: value.clone() for name, value in self.task_state_dict(self.num_tasks - 1).items()}

    def slot(self, task: int) -> nn.ParameterDict:
        """Return task `task`'s adapters by name, or the universal ones."""
        return self._universal[0] if task == UNIVERSAL else super().slot(task)

    def freeze(self) -> None:
        """Close the slots that were trained, and merge all."""
        super().freeze()
        self._merge()

    def load_task(self, state: dict[str, Tensor]) -> None:
        """Append a finished slot, and merge all."""
        super().load_task(state)
        self._merge()

    def _merge(self) -> None:
        slots = [self.task_state_dict(task) for task in range(self.num_tasks)]
        values = {name: merged(torch.stack([slot[name] for slot in slots])) for name in (slots[0] if slots else ())}
        parameters = {name: nn.Parameter(value, requires_grad=False) for name, value in values.items()}
        self._universal = (nn.ParameterDict(parameters),)  # in a tuple, so that it is not registered as a parameter

    @torch.no_grad()
    def pull(self, share: float) -> None:
        """Move the newest task's values by `share` of the way to the mean of the earlier tasks', if there are any."""
        slots = [self.task_state_dict(task) for task in range(self.num_tasks)]
        for name, value in self.slot(self.num_tasks - 1).items() if len(slots) > 1 else ():
            value.lerp_(torch.stack([slot[name] for slot in slots[:-1]]).mean(0), share)


def continued(layers: Layers, rank: int, backbone: Backbone) -> ContinuedAdapters:
    """Return adapters on the output of the MLP in `layers`, with no task yet.

    Raises:
        UserError: a layer is not in the backbone.
    """
    (plain,) = Adapter(layers, rank, "mlp").build(backbone)
    assert isinstance(plain, Adapters)
    return ContinuedAdapters(plain.widths, plain.rank, plain.init)


def merged(values: Tensor) -> Tensor:
    """Return for each entry of values [tasks, ...] the sign of the mean, and the largest size among those of this sign.

    Zero counts as negative (EMR merging, without rescaling).
    """
    positive = values.mean(0) > 0
    sizes = torch.where((values > 0) == positive, values.abs(), torch.zeros(()).to(values)).amax(0)
    return torch.where(positive, sizes, -sizes)

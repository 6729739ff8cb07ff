"""Whole weight matrices per task: W_t = W + D_t; each task's change D_t starts as that of the task before."""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.base import ALL_ROWS, Adaptation, AdaptationSpec, Layers, Site, parse_layers
from softtf.adaptations.quantised import QuantisedAdaptation
from softtf.adaptations.targets import parse_targets, slot_key, weight_shapes
from softtf.backbones.base import Backbone


@dataclass(frozen=True)
class TaskWeights(AdaptationSpec, kind="task-weights"):
    """A task's own copy of the weight matrices of chosen layers (biases and norms stay): one extractor per task.

    `layers="all"` gives each task a whole network. By default a task has the last three blocks; those below are shared.

    Attributes:
        layers: in any notation of `SoftMask.layers`.
        targets: in any notation of `SoftMask.targets`.
    """

    layers: Layers = (10, 11, 12)
    targets: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="task-weights layers")
        parse_targets(self.targets)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the changes for `backbone`, with no task yet."""
        return [TaskChanges(weight_shapes(self.layers, self.targets, backbone, "task-weights"))]


class TaskChanges(QuantisedAdaptation):
    """One change D [out, in] per weight; the frozen weight is never written to."""

    starts_from_last = True

    def __init__(self, shapes: dict[Site, torch.Size]) -> None:
        super().__init__()
        self.weight_sites = frozenset(shapes)
        self.shapes = {slot_key(*site): shape for site, shape in shapes.items()}

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the previous task's changes, or zeros."""
        if not self.num_tasks:
            return {key: torch.zeros(shape) for key, shape in self.shapes.items()}
        return {key: self.matrix(self.num_tasks - 1, key, torch.device("cpu")).detach().clone() for key in self.shapes}

    def forms(self, num_classes: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the forms, which are the same for any task, without copying the previous task's changes."""
        trained = {key: torch.empty(shape, device="meta") for key, shape in self.shapes.items()}
        return trained, self.closed(trained)

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return W + D_t [rows, in]."""
        assert task is not None
        return weight + self.matrix(task, slot_key(*site), weight.device, rows)

"""Fine-tuning of the network itself: all tasks train one shared copy of the weights."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softtf.adaptations.base import ALL_ROWS, Adaptation, AdaptationSpec, Layers, Site, parse_layers
from softtf.adaptations.targets import parse_targets, slot_key, weight_shapes
from softtf.backbones.base import Backbone


@dataclass(frozen=True)
class FineTuning(AdaptationSpec, kind="fine-tuning"):
    """Train the weight matrices of chosen layers, starting from the frozen ones; biases and norms stay frozen.

    Attributes:
        layers: in any notation of `SoftMask.layers`.
        targets: in any notation of `SoftMask.targets`.
    """

    layers: Layers = "all"
    targets: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="fine-tuning layers")
        parse_targets(self.targets)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the changes of the weights, initially zero."""
        return [FineTunedWeights(backbone, weight_shapes(self.layers, self.targets, backbone, "fine-tuning"))]


class FineTunedWeights(Adaptation):
    """W + D with one D for all tasks; D starts at zero, and the frozen weight is never written to."""

    def __init__(self, backbone: Backbone, sites: Collection[Site]) -> None:
        super().__init__()
        self.weight_sites = frozenset(sites)
        self.shared_blocks = frozenset(site.block for site in sites)
        weights = {slot_key(*site): backbone.linear(*site).weight for site in sites}
        self.changes = nn.ParameterDict({key: nn.Parameter(torch.zeros_like(w)) for key, w in weights.items()})

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: no parameter belongs to one task."""
        return {}

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return W + D [rows, in]."""
        change: Tensor = self.changes[slot_key(*site)]
        return weight + change[rows]

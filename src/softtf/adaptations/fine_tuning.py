"""Fine-tuning of the network itself: every task goes on training one copy of the weights that all tasks share."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softtf.adaptations.base import ALL_ROWS, Adaptation, AdaptationSpec, Layers, parse_layers
from softtf.adaptations.targets import backbone_names, parse_targets
from softtf.backbones.base import Backbone
from softtf.errors import UserError


@dataclass(frozen=True)
class FineTuning(AdaptationSpec, kind="fine-tuning"):
    """Train the weight matrices of chosen layers, starting from the frozen ones (biases and norms stay).

    Attributes:
        layers: in any notation of `SoftMask.layers`.
        targets: in any notation of `SoftMask.targets`.
    """

    layers: Layers = "all"
    targets: str = "all"

    def __post_init__(self) -> None:
        parse_layers(self.layers, what="fine-tuning layers")
        parse_targets(self.targets)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the change of the weights, still zero."""
        blocks = parse_layers(self.layers, backbone.depth, "fine-tuning layers")
        if not blocks:
            raise UserError(f"fine-tuning layers {self.layers!r} match no layer; leave fine-tuning out instead")
        return [FineTunedWeights(backbone, blocks, backbone_names(parse_targets(self.targets), backbone))]


class FineTunedWeights(Adaptation):
    """W + D with one D for all tasks: the frozen weight is never written to, and zero is where training starts."""

    def __init__(self, backbone: Backbone, blocks: tuple[int, ...], names: tuple[str, ...]) -> None:
        super().__init__()
        self.shared_blocks = frozenset(blocks)
        weights = {_key(b, n): backbone.linear(b, n).weight for b in blocks for n in names}
        self.changes = nn.ParameterDict({key: nn.Parameter(torch.zeros_like(w)) for key, w in weights.items()})

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: no parameter belongs to one task."""
        return {}

    def edits_weight(self, block: int, name: str) -> bool:
        """Say whether this weight is trained."""
        return _key(block, name) in self.changes

    def weight(self, block: int, name: str, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return W + D [rows, in]."""
        change: Tensor = self.changes[_key(block, name)]
        return weight + change[rows]


def _key(block: int, name: str) -> str:
    return f"layer{block + 1:02d}_{name}"

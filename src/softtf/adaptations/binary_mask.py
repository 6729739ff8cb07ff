"""WSN, winning subnetworks (Kang et al., 2022): W_t = W * m_t; m_t is 1 for the top c% of learned scores |s|, else 0.

A hard mask per weight matrix, layer and task. Its gradient goes straight through to the scores: dL/d|s| = dL/dm. The
weights and biases of the backbone stay frozen. A finished task's masks take one bit per weight.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from softtf.adaptations.base import ALL_ROWS, Adaptation, AdaptationSpec, Layers, Site, parse_layers
from softtf.adaptations.quantise import from_bits, to_bits
from softtf.adaptations.quantised import LargeAdaptation
from softtf.adaptations.targets import parse_targets, slot_key, weight_shapes
from softtf.backbones.base import Backbone
from softtf.config.bounds import Above, AtMost

Percentage = Annotated[float, Above(0), AtMost(100)]
BITS = "_bits"  # the end of the names of finished masks


@dataclass(frozen=True)
class BinaryMask(AdaptationSpec, kind="binary-mask"):
    """WSN: a hard mask per task on chosen linear layers.

    Attributes:
        layers: layers counted from 1, as in the paper: `10,11,12`, `10-12`, `all` or a tuple.
        targets: `qkv`, `proj`, `fc1`, `fc2` (several with commas), or the paper's `attn`, `w/o FF`, `w/ FF`.
        keep: c, the percentage of each matrix's weights that is kept (Tables 6 and 11: 80 to 95).
    """

    layers: Layers = (10, 11, 12)
    targets: str = "w/o FF"
    keep: Percentage = 90.0

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="WSN layers")
        parse_targets(self.targets)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the masks for `backbone`, with no task yet."""
        return [BinaryMasks(weight_shapes(self.layers, self.targets, backbone, "WSN"), self.keep)]


class BinaryMasks(LargeAdaptation):
    """Scores s of each target weight's shape while a task trains; exact bits once it is finished."""

    def __init__(self, shapes: dict[Site, torch.Size], keep: float) -> None:
        super().__init__()
        self.shapes, self.keep = shapes, keep
        self.weight_sites = frozenset(shapes)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return scores uniform in +-1/sqrt(in), one per weight."""
        return {
            slot_key(*site): nn.init.kaiming_uniform_(torch.empty(shape), math.sqrt(5), generator=generator)
            for site, shape in self.shapes.items()
        }

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each mask as bits, eight weights per byte; the scores are no longer needed."""
        return {name + BITS: to_bits(top_share(scores, self.keep)) for name, scores in values.items()}

    def num_parameters(self, task: int) -> int:
        """Return the number of trained scores: one per weight, whether the weight is kept or not."""
        return 0 if self.first_only and task else sum(shape.numel() for shape in self.shapes.values())

    def mask(self, site: Site, task: int, rows: slice = ALL_ROWS) -> Tensor:
        """Return rows of m_t [out, in], ones and zeros; in training the gradient goes straight through to |s|."""
        slot, key = self.slot(task), slot_key(*site)
        if key + BITS in slot:
            return from_bits(slot[key + BITS], self.shapes[site], rows)
        size: Tensor = slot[key].abs()
        return (top_share(size, self.keep) + (size - size.detach()))[rows]

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return W * m_t [rows, in]."""
        assert task is not None
        return weight * self.mask(site, task, rows).to(weight.device)


def top_share(scores: Tensor, keep: float) -> Tensor:
    """Return where the `keep` percent largest |scores| are; their number is rounded, and at least one.

    Of equal scores the first (in row order) are taken.
    """
    size = scores.detach().abs().flatten()
    count = max(1, round(len(size) * keep / 100))
    smallest = size.kthvalue(len(size) - count + 1).values
    above, equal = size > smallest, size == smallest
    first = equal.cumsum(0) <= count - above.sum()
    return (above | equal & first).view(scores.shape)

"""SoftNet, soft subnetworks (Kang et al., 2023): W_t = W * m_t; m_t is 1 for the top c% of scores, else a small value.

The major subnetwork is WSN's: the top c% of the learned scores |s| get 1. The other weights, the minor subnetwork, get
a small value in [0, 1], where WSN has zero. The SoftNet paper draws it from U(0, 1) (its code does so at every step);
METHOD here calls it learned. Both hold here: a weight's score is its minor value, starts from U(0, 1), and is learned,

    m = 1 where |s| is among the top c%, else min(|s|, 1);   dL/d|s| = dL/dm for all.

This is the true gradient for the minor weights and, as in WSN, a straight-through one for the major ones. So a minor
weight's value never exceeds a major one's, and it becomes major as its score grows. Each weight trains one parameter.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.base import Adaptation, AdaptationSpec, Layers, Site, parse_layers
from softtf.adaptations.binary_mask import Percentage, top_share
from softtf.adaptations.quantise import Quantised
from softtf.adaptations.soft_mask import SoftMasks
from softtf.adaptations.targets import parse_targets, weight_shapes
from softtf.backbones.base import Backbone


@dataclass(frozen=True)
class SoftNet(AdaptationSpec, kind="soft-net"):
    """A soft subnetwork per task on chosen linear layers.

    Attributes:
        layers: layers counted from 1, as in the paper: `10,11,12`, `10-12`, `all` or a tuple.
        targets: `qkv`, `proj`, `fc1`, `fc2` (several with commas), or the paper's `attn`, `w/o FF`, `w/ FF`.
        keep: c, the percentage of each matrix's weights whose mask is one.
    """

    layers: Layers = (10, 11, 12)
    targets: str = "w/o FF"
    keep: Percentage = 90.0

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="SoftNet layers")
        parse_targets(self.targets)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the masks for `backbone`, with no task yet."""
        return [SoftNets(weight_shapes(self.layers, self.targets, backbone, "SoftNet"), self.keep)]


class SoftNets(SoftMasks):
    """Scores of each target weight's shape while a task trains; soft masks once it is finished.

    A quantised mask's ones are exact, and its minor values are within 1/254.
    """

    def __init__(self, shapes: dict[Site, torch.Size], keep: float) -> None:
        super().__init__(shapes, "uniform(0,1)")
        self.keep = keep

    def closed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the masks computed from the scores."""
        return super().closed({name: soft_subnetwork(scores, self.keep) for name, scores in values.items()})

    def mask(self, site: Site, task: int) -> Tensor | Quantised:
        """Return m_t [out, in]: in training computed from the scores, quantised if its task is finished."""
        stored = super().mask(site, task)  # of a mask that was not quantised the soft subnetwork is the mask itself
        return stored if isinstance(stored, Quantised) else soft_subnetwork(stored, self.keep)


def soft_subnetwork(scores: Tensor, keep: float) -> Tensor:
    """Return m computed from the scores, with the gradient of |scores|."""
    size = scores.abs()
    mask = size.detach().clamp(max=1).masked_fill(top_share(size, keep), 1.0)
    return mask + (size - size.detach())

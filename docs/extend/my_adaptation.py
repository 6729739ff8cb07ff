"""An adaptation: each task scales the outputs of some layers, as IA3 does (Liu et al., NeurIPS 2022)."""

from dataclasses import dataclass

import torch

from softtf.adaptations import Adaptation, AdaptationSpec, slot_key, stack_slots, weight_shapes


@dataclass(frozen=True)
class Scaling(AdaptationSpec, kind="scaling"):
    layers: str = "10-12"
    targets: str = "qkv,fc1"

    def build(self, backbone):
        return [Scalings(weight_shapes(self.layers, self.targets, backbone, "scaling"))]


class Scalings(Adaptation):
    def __init__(self, shapes):
        super().__init__()
        self.shapes = shapes
        self.output_sites = frozenset(shapes)

    def new_slot(self, num_classes, generator):
        return {slot_key(*site): torch.ones(shape[0]) for site, shape in self.shapes.items()}

    def output(self, site, x, y, selection):
        scales = stack_slots(self, slot_key(*site)).to(y)
        if selection.task is not None:
            return y * scales[selection.task]
        return y * (selection.mixture.to(y) @ scales)[:, None]

"""Per-task parameters that change a frozen backbone: soft and hard masks, LoRA, adapters, prefix prompts, keys.

To write your own, derive an `AdaptationSpec` (its settings and `build`) and an `Adaptation`: its slots, the sites that
it edits, and a hook for each kind of site (`weight`, `output`). `weight_shapes` reads layers and targets in the paper's
notation and returns sites, `slot_key` is the name of a site's entry in a slot, and `stack_slots` returns one entry of
all tasks. `softtf.testing.check_adaptation` checks your adaptation. A learner's own parameters per task are
`TaskSlots`, its classifiers are `Heads`.
"""

from softtf.adaptations.adapter import Adapter
from softtf.adaptations.base import (
    Adaptation,
    AdaptationSpec,
    Compose,
    Layers,
    NoAdaptation,
    Selection,
    Site,
    parse_layers,
    stack_slots,
)
from softtf.adaptations.binary_mask import BinaryMask
from softtf.adaptations.fine_tuning import FineTuning
from softtf.adaptations.lora import LoRA
from softtf.adaptations.projection import Projection
from softtf.adaptations.slots import Heads, TaskSlots
from softtf.adaptations.soft_mask import SoftMask
from softtf.adaptations.soft_net import SoftNet
from softtf.adaptations.targets import slot_key, weight_shapes
from softtf.adaptations.task_weights import TaskWeights

__all__ = [
    "Adaptation",
    "AdaptationSpec",
    "Adapter",
    "BinaryMask",
    "Compose",
    "FineTuning",
    "Heads",
    "Layers",
    "LoRA",
    "NoAdaptation",
    "Projection",
    "Selection",
    "Site",
    "SoftMask",
    "SoftNet",
    "TaskSlots",
    "TaskWeights",
    "parse_layers",
    "slot_key",
    "stack_slots",
    "weight_shapes",
]

"""Per-task parameters that change a frozen backbone: soft and hard masks, LoRA, adapters, prefix prompts, keys."""

from softtf.adaptations.adapter import Adapter
from softtf.adaptations.base import Adaptation, AdaptationSpec, Compose, NoAdaptation, Selection
from softtf.adaptations.binary_mask import BinaryMask
from softtf.adaptations.fine_tuning import FineTuning
from softtf.adaptations.lora import LoRA
from softtf.adaptations.projection import Projection
from softtf.adaptations.soft_mask import SoftMask
from softtf.adaptations.soft_net import SoftNet
from softtf.adaptations.task_weights import TaskWeights

__all__ = [
    "Adaptation",
    "AdaptationSpec",
    "Adapter",
    "BinaryMask",
    "Compose",
    "FineTuning",
    "LoRA",
    "NoAdaptation",
    "Projection",
    "Selection",
    "SoftMask",
    "SoftNet",
    "TaskWeights",
]

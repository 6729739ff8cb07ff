"""Per-task parameters that change a frozen backbone: soft masks, prefix prompts, keys."""

from softtf.adaptations.base import Adaptation, AdaptationSpec, Compose, NoAdaptation, Selection
from softtf.adaptations.soft_mask import SoftMask

__all__ = ["Adaptation", "AdaptationSpec", "Compose", "NoAdaptation", "Selection", "SoftMask"]

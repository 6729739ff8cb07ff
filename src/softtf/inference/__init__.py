"""Which task is it? Prompt ID, Gradient ID, Feature ID, MCG, and the policies that say whose evidence is pooled."""

from softtf.inference.base import INFERENCES, TaskInference, inference_named
from softtf.inference.entropy_gradient import GradientID, GradientIDKeyPrompts
from softtf.inference.feature_id import FeatureID
from softtf.inference.multi_centroid import MultiCentroidGate
from softtf.inference.prompt_key import PromptID

__all__ = [
    "INFERENCES",
    "FeatureID",
    "GradientID",
    "GradientIDKeyPrompts",
    "MultiCentroidGate",
    "PromptID",
    "TaskInference",
    "inference_named",
]

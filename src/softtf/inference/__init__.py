"""Which task is it? Prompt ID, Gradient ID, Feature ID, MCG, and the policies that say whose evidence is pooled."""

from softtf.inference.base import INFERENCES, TaskInference, inference_named, unsupported
from softtf.inference.entropy_gradient import GradientID, GradientIDFull, GradientIDKeyPrompts
from softtf.inference.feature_id import FeatureID
from softtf.inference.gradient_offset import GradientIDOffset
from softtf.inference.multi_centroid import MultiCentroidGate
from softtf.inference.prompt_key import PromptID

__all__ = [
    "INFERENCES",
    "FeatureID",
    "GradientID",
    "GradientIDFull",
    "GradientIDKeyPrompts",
    "GradientIDOffset",
    "MultiCentroidGate",
    "PromptID",
    "TaskInference",
    "inference_named",
    "unsupported",
]

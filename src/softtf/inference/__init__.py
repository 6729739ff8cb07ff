"""Infer the task of a sample: Prompt ID, Gradient ID, Feature ID, MCG, and the policies that pool their evidence.

For one of your own, derive a `TaskInference`: `scores` of a `softtf.network.SharedPass`. If it reads statistics, derive
`FeatureStatistics` of `softtf.statistics` with the same `name`; a learner gathers them if its `gather` names it.
`softtf.testing.check_inference` checks it.
"""

from softtf.inference.answer_id import AnswerID
from softtf.inference.base import INFERENCES, TaskInference, inference_named, policies_of, unsupported
from softtf.inference.entropy_gradient import GradientID, GradientIDFull, GradientIDKeyPrompts
from softtf.inference.feature_id import FeatureID
from softtf.inference.given import NoTask, Oracle
from softtf.inference.gradient_offset import GradientIDOffset
from softtf.inference.multi_centroid import MultiCentroidGate
from softtf.inference.prompt_key import PromptID
from softtf.inference.task_identity import TaskIdentity

__all__ = [
    "INFERENCES",
    "AnswerID",
    "FeatureID",
    "GradientID",
    "GradientIDFull",
    "GradientIDKeyPrompts",
    "GradientIDOffset",
    "MultiCentroidGate",
    "NoTask",
    "Oracle",
    "PromptID",
    "TaskIdentity",
    "TaskInference",
    "inference_named",
    "policies_of",
    "unsupported",
]

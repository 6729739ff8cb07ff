"""Statistics of the frozen backbone's features, or of a learner's scores, gathered task after task."""

from softtf.files.tensor_form import TensorForm
from softtf.statistics.base import STATISTIC_KINDS, FeatureStatistics, SharedStatistics, Statistics
from softtf.statistics.centroids import TaskCentroids
from softtf.statistics.class_scores import ClassScores
from softtf.statistics.random_ridge import RandomRidge
from softtf.statistics.shares import Share
from softtf.statistics.task_offsets import TaskOffsets

__all__ = [
    "STATISTIC_KINDS",
    "ClassScores",
    "FeatureStatistics",
    "RandomRidge",
    "Share",
    "SharedStatistics",
    "Statistics",
    "TaskCentroids",
    "TaskOffsets",
    "TensorForm",
]

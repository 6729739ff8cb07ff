"""What is remembered of the frozen backbone's features, task after task, without any gradient."""

from softtf.statistics.base import FeatureStatistics
from softtf.statistics.centroids import TaskCentroids
from softtf.statistics.class_scores import ClassScores
from softtf.statistics.random_ridge import RandomRidge

__all__ = ["ClassScores", "FeatureStatistics", "RandomRidge", "TaskCentroids"]

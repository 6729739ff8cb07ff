"""softtf in scikit-learn: an estimator for its pipelines, cross-validation and model selection."""

from softtf.sklearn.estimator import ContinualEstimator

__all__ = ["ContinualEstimator"]

"""From counts of right answers to every metric, table and file of them."""

from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.metrics import METRICS, Metric, metric, summary
from softtf.evaluation.report import Row, render, render_matrix, to_csv, to_latex, to_markdown

__all__ = [
    "METRICS",
    "AccuracyMatrix",
    "Metric",
    "Row",
    "metric",
    "render",
    "render_matrix",
    "summary",
    "to_csv",
    "to_latex",
    "to_markdown",
]

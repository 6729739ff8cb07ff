"""Metrics: each is a function of the accuracy matrix, with a name for files and a title for tables.

A metric of the user's is shown in tables once its file is imported::

    @metric("plasticity", "Plasticity %")
    def plasticity(matrix: AccuracyMatrix) -> float:
        return float(matrix.a.diagonal()[1:].mean())
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.registry import Registry

Measure = Callable[[AccuracyMatrix], float | None]


@dataclass(frozen=True)
class Metric:
    """A metric in percent.

    name: its key in a run's summary.json. title: its column's header. of: computes its value, None where it is not
    defined; the matrix has at least one task. printed: whether tables show it beside their usual columns.
    """

    name: str
    title: str
    of: Measure
    printed: bool = True


METRICS: Registry[Metric] = Registry("metric")


def metric(name: str, title: str, printed: bool = True) -> Callable[[Measure], Measure]:
    """Register the function below as a metric; arguments as for `Metric`.

    Raises:
        UserError: there is a metric of this name.
    """

    def register(measure: Measure) -> Measure:
        METRICS.add(name, Metric(name, title, measure, printed), measure)
        return measure

    return register


TITLES = {
    "acc": "ACC %",
    "forget": "Forget %",
    "average_incremental": "Average incremental %",
    "bwt": "BWT %",
    "learning_accuracy": "Learning accuracy %",
    "pooled": "Pooled %",
    "task_identity": "Task right %",
}
for _name, _title in TITLES.items():
    METRICS.add(_name, Metric(_name, _title, attrgetter(_name), printed=False), Metric)


def summary(matrix: AccuracyMatrix) -> dict[str, float | None]:
    """Return every metric by name, in percent; `task_identity` is None if it was not recorded.

    Raises:
        UserError: The matrix is empty.
    """
    return {name: found.of(matrix) for name, found in METRICS.items()}

"""Task inference among a few tasks: those that the statistics of frozen features find likeliest for a sample.

Statistics score all tasks by one matrix product. Running a task's own network, or forming inner products with its
weights, is then done for a sample's k best tasks alone. The answer is the same as among all tasks if the task named
among all is one of the k (docs/performance.md, "Many tasks", says how often).
"""

import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.inference.base import TaskInference, inference_named, policies_of
from softtf.inference.feature_id import FeatureID
from softtf.inference.multi_centroid import MultiCentroidGate
from softtf.learners.base import Learner
from softtf.network import SharedPass
from softtf.statistics import STATISTIC_KINDS

STATISTICS = (FeatureID.name, MultiCentroidGate.name)
MARK = ":top"


class Shortlisted(TaskInference):
    """A task inference whose scores are -inf for all but the `size` best tasks by statistics of frozen features."""

    needs_query = True

    def __init__(self, inference: TaskInference, statistics: TaskInference, size: int) -> None:
        self.inference, self.statistics, self.size = inference, statistics, size

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return scores [batch, tasks]."""
        first = self.statistics.scores(learner, shared)
        among = first.topk(min(self.size, learner.num_tasks), 1).indices
        same = type(self.inference) is type(self.statistics)
        found = first.gather(1, among) if same else self.inference.scores_among(learner, shared, among)
        return torch.full_like(found[:, :1], -torch.inf).expand(first.shape).scatter(1, among, found)


def scorer_of(evidence: str, learner: Learner) -> TaskInference:
    """Return what gives the scores of some policies (`Policy.evidence`), such as `gradient-id` or `gradient-id:top16`.

    Raises:
        UserError: the learner does not support it, or gathers no statistics for a shortlist.
    """
    name, mark, size = evidence.partition(MARK)
    inference = inference_named(name, learner)
    return Shortlisted(inference, inference_named(statistics_for(learner), learner), int(size)) if mark else inference


def statistics_for(learner: Learner) -> str:
    """Return the name of the statistics by which tasks are put on a learner's shortlist.

    Raises:
        UserError: the learner gathers none.
    """
    supported = policies_of(learner)
    for name in STATISTICS:
        if name in supported:
            return name
    kind = STATISTIC_KINDS[FeatureID.name]
    raise UserError(
        f"{MARK}K needs statistics of frozen features, which this {learner.method} did not gather; learn with"
        f" {kind.setting}={kind.amount} from the start (softtf run ... {kind.option()})"
    )

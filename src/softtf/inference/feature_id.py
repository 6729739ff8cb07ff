"""Feature ID: the task whose classes together are the most probable by a regression on frozen features.

log P(t|x) = log of the sum of P(c|x) over the classes c of task t; P(c|x) is the softmax of RanPAC's scores at a fitted
temperature. Pooled over samples of one task the logs add up, as independent evidence does.
"""

import torch
from torch import Tensor

from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.network import SharedPass
from softtf.statistics import ClassScores


class FeatureID(TaskInference):
    """Reads class statistics, which a learner gathers if its spec asks for them (`LearnerSpec.feature_id`)."""

    name = "feature-id"
    title = "Feature ID"
    needs_query = True
    log_probabilities = True

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return log P(t|x) [batch, tasks]."""
        statistics = learner.statistics[self.name]
        assert isinstance(statistics, ClassScores)
        log_p = statistics.log_probabilities(learner.gathered[self.name], shared.query)
        return torch.stack([log_p[:, own].logsumexp(1) for own in learner.column_slices], 1)

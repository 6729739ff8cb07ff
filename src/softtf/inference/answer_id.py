"""Answer ID: the task whose classes together are the most probable by the learner's own answer.

log P(t|x) = log of the sum of P(c|x) over the classes c of task t. It is for methods whose answer needs no task, such
as the default, if several samples are known to be of one task: pooled, the logs add up, as independent evidence does.
"""

import torch
from torch import Tensor

from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.network import SharedPass


class AnswerID(TaskInference):
    """Reads nothing but the probabilities of all classes."""

    name = "answer-id"
    title = "Answer ID"
    by_default = False  # alone, a sample's task is that of its answer, which `none` gives

    @classmethod
    def fits(cls, learner: Learner) -> bool:
        """Return whether the learner's answer needs no task."""
        return "none" in learner.policies

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return log P(t|x) [batch, tasks]."""
        log_p = learner.logits(shared.trunk, 0).log_softmax(1)
        return torch.stack([log_p[:, own].logsumexp(1) for own in learner.column_slices], 1)

"""TII, HiDe-Prompt's: the task of the class that a classifier on frozen features finds likeliest."""

import torch
from torch import Tensor

from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.learners.hide_prompt import HiDePromptLearner
from softtf.network import SharedPass


class TaskIdentity(TaskInference):
    """The score of a task is the log-probability of its likeliest class."""

    name = "tii"
    title = "TII"
    needs_query = True

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return the scores [batch, tasks]."""
        assert isinstance(learner, HiDePromptLearner)
        log_p = learner.identity_logits(shared.query).log_softmax(1)
        return torch.stack([log_p[:, own].amax(1) for own in learner.column_slices], 1)

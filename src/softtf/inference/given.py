"""Two ways to answer that infer nothing: the task is given, or the answer needs no task."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.network import SharedPass


class Oracle(TaskInference):
    """The task of each sample is given: the upper bound of task inference."""

    name = "oracle"
    title = "oracle (task given)"
    by_default = False  # every table has it, last
    pools = False
    own_classes = True
    given = True

    @classmethod
    def fits(cls, learner: Learner) -> bool:
        """Return True: any learner can be given the task."""
        return True

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return one for the given task and zero for the others [batch, tasks]."""
        assert shared.given is not None
        x = shared.trunk.x
        return one_hot(torch.as_tensor(shared.given, device=x.device).expand(len(x)), learner.num_tasks).to(x)


class NoTask(TaskInference):
    """One network answers for all tasks; the class that it names implies the task."""

    name = "none"
    title = "no task needed, per-sample"
    pools = False
    names_task = False

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return zeros [batch, tasks]."""
        return shared.trunk.x.new_zeros(len(shared.trunk), learner.num_tasks)

"""Prompt ID: the task whose key is nearest to the query, argmax_t cos(q(x), k_t)."""

from torch import Tensor

from softtf.adaptations.task_keys import TaskKeys
from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.network import SharedPass


class PromptID(TaskInference):
    """Scores are the cosine similarities of the query with the tasks' keys."""

    name = "prompt-id"
    title = "Prompt ID"
    needs_query = True

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return cos(q(x), k_t) [batch, tasks]."""
        keys = learner.extra_slots["task_keys"]
        assert isinstance(keys, TaskKeys)
        return keys.similarities(shared.query)

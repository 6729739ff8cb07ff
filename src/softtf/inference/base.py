"""What a task inference is: from a sample to one score per task; the highest names the task."""

from abc import ABC, abstractmethod

from torch import Tensor

from softtf.errors import unknown
from softtf.learners.base import Learner
from softtf.shared_pass import SharedPass

INFERENCES: "dict[str, type[TaskInference]]" = {}


class TaskInference(ABC):
    """Scores tasks for each sample from that sample alone; sharing evidence is the policy's business.

    log_probabilities: whether scores are log P(t|x), at a temperature fitted on training data, so that classes of
    several tasks can be weighed by them.
    """

    name: str
    title: str
    needs_query: bool = False
    by_default: bool = True
    log_probabilities: bool = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        INFERENCES[cls.name] = cls

    @abstractmethod
    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return scores [batch, tasks]; row i depends on sample i alone."""


def inference_named(name: str, learner: Learner) -> TaskInference:
    """Return the task inference `name`.

    Raises:
        UserError: there is none of that name, or this learner cannot serve it.
    """
    if name not in learner.inferences:
        raise unknown(f"task inference for {type(learner).__name__}", name, [*learner.inferences, "oracle"])
    return INFERENCES[name]()

"""What a task inference is: from a sample to one score per task; the highest names the task."""

from abc import ABC, abstractmethod

from torch import Tensor

from softtf.errors import UserError, unknown
from softtf.learners.base import Learner
from softtf.network import SharedPass

INFERENCES: "dict[str, type[TaskInference]]" = {}


class TaskInference(ABC):
    """Scores tasks for each sample from that sample alone; sharing evidence is the policy's business.

    setting: where it reads statistics that a learner gathers only if its spec asks for them, the setting that does, and
    a good value. by_default: whether a learner that supports it is scored by it if nothing else is asked for.
    log_probabilities: whether scores are log P(t|x), at a temperature fitted on training data, so that classes of
    several tasks can be weighed by them.
    """

    name: str
    title: str
    needs_query: bool = False
    by_default: bool = True
    setting: tuple[str, int] | None = None
    log_probabilities: bool = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        INFERENCES[cls.name] = cls

    @classmethod
    def option(cls) -> str:
        """Return `setting` as the command line has it, such as `--learner.feature-id 1000`."""
        assert cls.setting is not None
        name, value = cls.setting
        return f"--learner.{name.replace('_', '-')} {value}"

    @abstractmethod
    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return scores [batch, tasks]; row i depends on sample i alone."""


def inference_named(name: str, learner: Learner) -> TaskInference:
    """Return the task inference `name`.

    Raises:
        UserError: there is none of that name, or this learner cannot serve it.
    """
    if name not in learner.inferences:
        raise unsupported(name, learner)
    return INFERENCES[name]()


def unsupported(name: str, learner: Learner) -> UserError:
    """Return the error for a way to answer that is not among a learner's `policies`, with what it lacks."""
    if name not in (*INFERENCES, "none"):
        return unknown(f"task inference for {type(learner).__name__}", name, [*learner.inferences, "oracle"])
    ways = dict.fromkeys([*learner.policies, "oracle"])
    supported = ", ".join("none (its answer needs no task)" if way == "none" else way for way in ways)
    kind = INFERENCES.get(name)
    remedy = ""
    if kind is not None and kind.setting is not None:
        setting, value = kind.setting
        remedy = (
            f"; {name} reads statistics that are gathered while tasks are learned, if the learner has"
            f" {setting}={value} from the start (softtf run ... {kind.option()})"
        )
    return UserError(f"{type(learner).__name__} cannot infer the task by {name!r}; it supports {supported}{remedy}")

"""The interface of task inferences: a score per sample and task; the highest score names the task."""

from abc import ABC, abstractmethod

from torch import Tensor

from softtf.errors import UserError, unknown
from softtf.learners.base import Learner
from softtf.network import SharedPass
from softtf.registry import Registry
from softtf.statistics import STATISTIC_KINDS
from softtf.streams import Loader

INFERENCES: "Registry[type[TaskInference]]" = Registry("task inference")


class TaskInference(ABC):
    """Scores the tasks for each sample, from that sample alone; the policy pools the scores of several samples.

    A subclass registers itself by its `name`. Where `softtf.statistics` have the same name, learners that gather them
    support it. Otherwise those support it that list it (`Learner.task_inferences`), or for which `fits` is true.

    title: its name in tables. needs_query: whether it reads `SharedPass.query`. by_default: whether a learner that
    supports it is scored by it if nothing else is asked for. log_probabilities: whether scores are log P(t|x), at a
    temperature fitted on training data, so that classes of several tasks can be weighed by them. pools: whether several
    samples' scores can be pooled. own_classes: whether only the named task's classes may be the answer, whatever the
    policy says. names_task: whether its scores name the task; otherwise the answered class does.
    reads_gradients: whether its scores are gradients; an exported graph has none. given: whether it reads the true task
    (`SharedPass.given`) in place of inferring it.
    """

    name: str
    title: str
    needs_query: bool = False
    by_default: bool = True
    log_probabilities: bool = False
    pools: bool = True
    own_classes: bool = False
    names_task: bool = True
    reads_gradients: bool = False
    given: bool = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "fits" in vars(cls) and not isinstance(vars(cls)["fits"], classmethod):
            raise UserError(f"{cls.__name__}.fits must be a class method: write @classmethod above fits(cls, learner)")
        if "name" in vars(cls):
            INFERENCES.add(cls.name, cls, cls)

    @classmethod
    def fits(cls, learner: Learner) -> bool:
        """Return whether it works for a learner that does not list it."""
        return False

    def gather(self, learner: Learner, loader: Loader) -> None:  # noqa: B027 - most read statistics of features
        """Add the task that has just ended to statistics of the learner's own answers (`Learner.gathered`).

        Called if the learner gathers statistics of this name. `loader` has the task's training examples in training
        mode, and perhaps replayed ones.
        """

    @abstractmethod
    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return scores [batch, tasks]; row i depends on sample i alone."""

    def scores_among(self, learner: Learner, shared: SharedPass, among: Tensor) -> Tensor:
        """Return the scores of each sample's own tasks `among` [batch, k]; override it where that is cheaper."""
        return self.scores(learner, shared).gather(1, among)


def policies_of(learner: Learner) -> tuple[str, ...]:
    """Return the inferences that a learner supports, the usual one first: `Learner.policies`, and those that fit it."""
    fitting = (name for name, kind in INFERENCES.items() if kind.fits(learner))
    return tuple(dict.fromkeys([*learner.policies, *fitting]))


def gather_answers(learner: Learner, loader: Loader) -> None:
    """Add the task that has just ended to all statistics of a learner's own answers."""
    for name in learner.statistics:
        if name in INFERENCES:
            INFERENCES[name]().gather(learner, loader)


def inference_named(name: str, learner: Learner) -> TaskInference:
    """Return the task inference `name`.

    Raises:
        UserError: there is none of that name, or this learner cannot serve it.
    """
    if name not in INFERENCES or name not in policies_of(learner):
        raise unsupported(name, learner)
    return INFERENCES[name]()


def unsupported(name: str, learner: Learner) -> UserError:
    """Return the error for an inference that a learner does not support, with what the learner lacks."""
    ways, method = policies_of(learner), learner.method
    if name not in INFERENCES:
        return unknown(f"task inference for {method}", name, ways, imports=True)
    supported = ", ".join("none (its answer needs no task)" if way == "none" else way for way in ways)
    remedy = ""
    if (kind := STATISTIC_KINDS.get(name)) is not None:
        setting = ", ".join(f"{key}={value!r}" for key, value in kind.settings().items())
        remedy = (
            f"; {name} reads statistics that are gathered while tasks are learned, if the learner has"
            f" {setting} from the start (softtf run ... {kind.option()})"
        )
    return UserError(f"{method} cannot infer the task by {name!r}; it supports {supported}{remedy}")

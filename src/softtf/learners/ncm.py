"""NCM: the class whose mean feature is nearest by cosine. Nothing is trained; the honest floor of frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone, Tokens
from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.solved import ONE_PASS, SolvedLearner
from softtf.statistics.random_ridge import first_of_five, fit_temperature

TEMPERATURE = "temperature"
DEFAULT = 0.05


@dataclass(frozen=True)
class NCM(LearnerSpec, kind="ncm"):
    """Nearest class mean: logits are cos(q(x), m_c) / temperature, m_c the mean of class c's training features."""

    training: ClassVar[Mapping[str, Any]] = ONE_PASS

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return NCMLearner(backbone, (), seed)


class NCMLearner(SolvedLearner):
    """Each task's head holds its classes' means at length 1, and reads features at length 1.

    The temperature makes the softmax of the cosines a probability, which matters where tasks share a label and those of
    its columns are added up. It is fitted once, on a fifth of the first task with the means of the rest, and stays, so
    that no later task changes an answer.
    """

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor) -> dict[str, float]:
        """Set the head to the class means; tell the share of training examples that are nearest to another's."""
        head = self.network.heads.slot(self.num_tasks - 1)
        own = self.own(columns)
        means = unit_means(features.double(), own, len(head["bias"]))
        head["weight"].copy_(means)
        if TEMPERATURE not in self.memory:
            self.memory = self.memory | {TEMPERATURE: torch.tensor(first_temperature(features.double(), own))}
        nearest = (features.double() @ means.T).argmax(1)
        return {"training_error": float((nearest != own).double().mean())}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return cosines over the temperature, [batch, classes seen]."""
        features = F.normalize(self.network.top(trunk, task=task))
        cosines: Tensor = self.network.heads(features, range(self.num_tasks))
        return cosines / self.memory[TEMPERATURE].to(cosines)


def unit_means(features: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return the mean of each class's features at length 1, [count, dim]; features: [n, dim], classes: [n]."""
    sums = torch.zeros(count, features.shape[1], dtype=features.dtype)
    return F.normalize(sums.index_add_(0, classes, features))  # a sum points where the mean does


def first_temperature(features: Tensor, classes: Tensor) -> float:
    """Return the temperature of cosines under which a fifth of a task's examples is told best by the others' means.

    features: [n, dim], classes: [n]. Of one class, or where a class has one example alone, it is DEFAULT.
    """
    held = first_of_five(classes)
    count = int(classes.max()) + 1
    if count < 2 or len(torch.unique(classes[~held])) < count:
        return DEFAULT
    means = unit_means(features[~held], classes[~held], count)
    return fit_temperature(F.normalize(features[held]) @ means.T, classes[held])

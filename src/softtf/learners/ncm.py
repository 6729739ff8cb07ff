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


@dataclass(frozen=True)
class NCM(LearnerSpec, kind="ncm"):
    """Nearest class mean: logits are the raw cosines cos(q(x), m_c), m_c the mean of class c's training features."""

    training: ClassVar[Mapping[str, Any]] = ONE_PASS

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return NCMLearner(backbone, (), seed)


class NCMLearner(SolvedLearner):
    """Each task's head holds its classes' means at length 1, and reads features at length 1; nothing is shared.

    The cosines are not scaled, so the probabilities made of them are all much alike; their order is what counts.
    """

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor) -> dict[str, float]:
        """Set the head to the class means; tell the share of training examples that are nearest to another's."""
        head = self.network.heads.slot(self.num_tasks - 1)
        own = self.own(columns)
        sums = torch.zeros(len(head["bias"]), features.shape[1], dtype=torch.float64)
        means = F.normalize(sums.index_add_(0, own, features.double()))  # a sum points where the mean does
        head["weight"].copy_(means)
        nearest = (features.double() @ means.T).argmax(1)
        return {"training_error": float((nearest != own).double().mean())}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return cosines [batch, classes seen]."""
        features = F.normalize(self.network.top(trunk, task=task))
        return self.network.heads(features, range(self.num_tasks))  # type: ignore[no-any-return]

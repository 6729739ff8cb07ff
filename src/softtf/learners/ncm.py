"""NCM: the class whose mean feature is nearest by cosine. Nothing is trained; the honest floor of frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone, Tokens
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner, ClosedFormSpec
from softtf.statistics.random_ridge import add_counts, column_forms
from softtf.statistics.temperature import FittedMean, first_of_five, fit_temperature, log_shares

TEMPERATURE = FittedMean("temperatures", default=0.05)


@dataclass(frozen=True)
class NCM(ClosedFormSpec, kind="ncm"):
    """Nearest class mean: logits are cos(q(x), m_c) / temperature, m_c the mean of class c's training features."""

    title = "NCM (frozen features)"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return NCMLearner(backbone, (), seed)


class NCMLearner(ClosedFormLearner):
    """Remembers the sum of each label's features, whichever tasks taught it; each task's head holds its own means.

    The temperature makes the softmax of the cosines a probability, which matters where tasks are weighed by it. It is
    fitted on a fifth of each task with the means of the rest, and is the mean over tasks; no answer depends on it.
    """

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the sums, the counts and the temperature."""
        sums = TensorForm((int(labels.max()) + 1, self.network.heads.dim))
        return {"sums": sums, **column_forms(labels), TEMPERATURE.name: TEMPERATURE.form}

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task to the sums; tell the share of its examples that are nearest to another label's mean."""
        self.network.heads.slot(self.num_tasks - 1)["weight"].copy_(
            unit_sums(features.double(), self.own(columns), len(columns.unique()))
        )
        own, count = labels[columns], int(labels.max()) + 1
        held = first_of_five(columns)
        rest = label_sums(self.memory, features[~held], own[~held], count)
        sums = rest.index_add(0, own[held], features[held].double())
        chosen = None
        if held.any() and count > 1:
            scores = F.normalize(features[held].double()) @ F.normalize(rest).T
            chosen = fit_temperature(scores, own[held])
        self.memory = {
            "sums": sums.float(),
            "counts": add_counts(self.memory, columns, len(labels)),
            "labels": labels,
            **TEMPERATURE.add(self.memory, chosen, float(held.sum())),
        }
        nearest = (features.double() @ F.normalize(sums).T).argmax(1)
        return {"training_error": float((nearest != own).double().mean())}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return cosines over the temperature, [batch, classes seen], with the log of each column's share."""
        features = F.normalize(self.network.top(trunk, task=task))
        labels = self.memory["labels"]
        means = F.normalize(self.memory["sums"])[labels].to(features)
        shares = log_shares(self.memory["counts"], labels).to(features)
        return features @ means.T / TEMPERATURE.value(self.memory) + shares


def unit_sums(features: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return each class's mean feature at length 1, [count, dim]; features: [n, dim], classes: [n]."""
    return F.normalize(torch.zeros(count, features.shape[1]).to(features).index_add_(0, classes, features))


def label_sums(known: Mapping[str, Tensor], features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the sums known [labels, dim], in float64, with those of features [n, dim] of `labels` [n] in them."""
    sums = torch.zeros(count, features.shape[1], dtype=torch.float64)
    if known:
        sums[: len(known["sums"])] += known["sums"].double()
    return sums.index_add_(0, labels, features.double())

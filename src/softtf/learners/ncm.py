"""NCM: the class whose mean feature is nearest by cosine. Nothing is trained; the baseline of frozen features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone, Tokens
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner, ClosedFormSpec
from softtf.learners.shares import METHOD
from softtf.statistics import Share
from softtf.statistics.random_ridge import column_counts, column_forms, columns_without
from softtf.statistics.shares import all_labels, joined_columns, local_numbers, own_share
from softtf.statistics.temperature import FittedMean, first_of_five, fit_temperature, log_shares

TEMPERATURE = FittedMean("temperatures", default=0.05)


@dataclass(frozen=True)
class NCM(ClosedFormSpec, kind="ncm"):
    """Nearest class mean: logits are cos(q(x), m_c) / temperature; m_c is the mean of class c's training features."""

    title = "NCM (frozen features)"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return NCMLearner(backbone, (), seed)


class NCMLearner(ClosedFormLearner):
    """A task's share is the sum of features of each of its columns; its head holds its classes' means.

    The temperature makes the softmax of the cosines a probability, which matters where it weighs tasks. Each task fits
    it on a fifth of its examples, with the means of the rest; the mean over tasks is used. No answer depends on it.
    """

    sums_by_class = True

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the sums per label, of the counts and of the temperature."""
        sums = TensorForm((int(labels.max()) + 1, self.network.heads.dim))
        return {"sums": sums, **column_forms(labels), TEMPERATURE.name: TEMPERATURE.form}

    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the same forms for one task."""
        return self.memory_forms(labels)

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task's sums; return the share of its examples that are nearest to another label's mean."""
        before = self.shares_of(labels)
        own_columns, own_labels = own_share(before, columns, labels)
        numbers, local = local_numbers(own_labels)
        self.network.heads.slot(self.num_tasks - 1)["weight"].copy_(
            unit_sums(features.double(), self.own(columns), len(columns.unique()))
        )
        held, places = first_of_five(columns), local[own_columns]
        rest = torch.zeros(len(numbers), features.shape[1], dtype=torch.float64)
        rest.index_add_(0, places[~held], features[~held].double())
        sums = rest.index_add(0, places[held], features[held].double())
        own, count = labels[columns], int(labels.max()) + 1
        chosen = None
        if held.any() and count > 1:
            means = label_sums(before, count, features.shape[1]).index_add(0, numbers, rest)
            chosen = fit_temperature(F.normalize(features[held].double()) @ F.normalize(means).T, own[held])
        share = {
            "sums": sums.float(),
            "counts": torch.bincount(own_columns, minlength=len(own_labels)),
            "labels": local,
            **TEMPERATURE.kept(chosen, float(held.sum())),
        }
        self.keep_share(share)
        self.solve([*before, Share(share, own_labels)])
        nearest = (features.double() @ F.normalize(self.memory["sums"].double()).T).argmax(1)
        return {"training_error": float((nearest != own).double().mean())}

    def solve(self, shares: Sequence[Share]) -> None:
        """Add up all shares."""
        self.memory = {}
        if shares:
            labels = all_labels(shares)
            temperatures = torch.stack([share.tensors[TEMPERATURE.name] for share in shares]).cumsum(0)[-1]
            self.memory = {
                "sums": label_sums(shares, int(labels.max()) + 1, self.network.heads.dim).float(),
                "counts": column_counts(shares),
                "labels": labels,
                TEMPERATURE.name: temperatures,
            }

    def settle(self, labels: Tensor) -> None:
        """Add up all shares; the head of a task with more examples gets its new means, the others stay bit for bit."""
        super().settle(labels)
        heads = self.network.heads
        for task, share in enumerate(own.get(METHOD) for own in self.shares.tasks):
            if share is None or len(share["counts"]) != heads.num_classes(task):  # of several tasks, in softtf 0.1
                continue
            state, means = heads.task_state_dict(task), F.normalize(share["sums"])
            rounding = eps(state["weight"]) / 2 + 4 * eps(means)  # of the head's form, and of the sums
            if not torch.allclose(state["weight"].to(means), means, rtol=rounding, atol=eps(means)):
                heads.close(task, {**state, "weight": means})

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return a task's sums for the classes at `kept` alone, without the temperature, which all were fitted by."""
        none = TEMPERATURE.kept(None, 0.0)
        return {**share, "sums": share["sums"][kept], **columns_without(share, kept), **none}

    def joined(self, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return a task's sums with those of more of its examples."""
        sums = one.tensors["sums"].double().index_add(0, more.labels, more.tensors["sums"].double()).float()
        return {**joined_columns(one, more), "sums": sums, **TEMPERATURE.joined(one.tensors, more.tensors)}

    def united(self, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return the sums of the tasks of some shares together."""
        numbers, local = local_numbers(all_labels(shares))
        sums = label_sums(shares, int(numbers.max()) + 1, self.network.heads.dim)[numbers].float()
        fitted = TEMPERATURE.joined(*(share.tensors for share in shares))
        return {"sums": sums, "counts": column_counts(shares), "labels": local, **fitted}

    def fitted_beside(self, task: int) -> list[str]:
        """Return the temperature; no answer depends on it."""
        return [*super().fitted_beside(task), "the temperature that later tasks fitted"]

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return cosines divided by the temperature plus the log of each column's share, [batch, classes seen]."""
        features = F.normalize(self.network.top(trunk, task=task))
        labels = self.memory["labels"]
        means = F.normalize(self.memory["sums"])[labels].to(features)
        shares = log_shares(self.memory["counts"], labels).to(features)
        return features @ means.T / TEMPERATURE.scalar(self.memory).to(features) + shares


def eps(value: Tensor) -> float:
    """Return the machine epsilon of a tensor's type."""
    return torch.finfo(value.dtype).eps


def unit_sums(features: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return each class's mean feature at length 1, [count, dim]; features: [n, dim], classes: [n]."""
    return F.normalize(torch.zeros(count, features.shape[1]).to(features).index_add_(0, classes, features))


def label_sums(shares: Sequence[Share], count: int, dim: int) -> Tensor:
    """Return the sum of features of each of `count` labels over all shares, [labels, dim], in float64."""
    sums = torch.zeros(count, dim, dtype=torch.float64)
    for share in shares:
        sums.index_add_(0, local_numbers(share.labels)[0], share.tensors["sums"].double())
    return sums

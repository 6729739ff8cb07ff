"""A learner with sums over tasks: linear discriminant analysis, which no order of the tasks changes."""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from softtf.adaptations import Heads
from softtf.learners import ONE_PASS, ClosedFormLearner, LearnerSpec
from softtf.statistics import TensorForm


@dataclass(frozen=True)
class LDA(LearnerSpec, kind="lda"):
    title = "LDA"
    training = ONE_PASS
    shrinkage: float = 0.1

    def build(self, backbone, seed):
        return LDALearner(backbone, seed, self.shrinkage)


class LDALearner(ClosedFormLearner):
    def __init__(self, backbone, seed, shrinkage):
        super().__init__(backbone, (), seed, heads=Heads(backbone.dim, retrained=True))
        self.shrinkage = shrinkage

    def memory_forms(self, labels):
        dim, classes = self.network.heads.dim, len(labels)
        forms = {"counts": (classes,), "sums": (classes, dim), "squares": (dim, dim)}
        return {name: TensorForm(shape) for name, shape in forms.items()}

    def fit(self, features, columns, labels):
        x, y = features.double(), one_hot(columns, len(labels)).double()
        new = {"counts": y.sum(0), "sums": y.T @ x, "squares": x.T @ x}
        for name, old in self.memory.items():
            new[name][: len(old)] += old
        self.memory = new
        means = new["sums"] / new["counts"][:, None]
        within = (new["squares"] - new["sums"].T @ means) / new["counts"].sum()
        within += self.shrinkage * within.diagonal().mean() * torch.eye(len(within))
        weights = torch.linalg.solve(within, means.T)
        self.set_heads(weights, (new["counts"] / new["counts"].sum()).log() - (means.T * weights).sum(0) / 2)
        return {}

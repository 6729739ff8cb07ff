"""RanPAC without its first phase: a ridge regression on a random projection of frozen features, all tasks' at once.

McDonnell et al., NeurIPS 2023. The paper first adapts the backbone to the first task (phase 1: adapters, trained by
gradients); that is left out here, so that this is its phase 2 on the untouched backbone.

Two more things differ, so that a small task does not undo what large ones taught. Labels weigh the same, and not
examples (`balance`); where all have equally many examples that changes nothing. And lambda is chosen on held-out
examples of all tasks, and not of the newest alone. A label that several tasks teach is one label of the regression.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone, Tokens
from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner, ClosedFormSpec
from softtf.statistics import RandomRidge
from softtf.statistics.base import MOST


@dataclass(frozen=True)
class RanPAC(ClosedFormSpec, kind="ranpac"):
    """Random projection, relu, and one ridge regression over all classes seen.

    Attributes:
        projection: M, the numbers that features are projected to; the paper has 10,000. What tasks share takes
            4 M (M + 1) bytes and 12 M a class, and a run keeps one such file a task.
        ridge: lambda; left out, it is chosen with each task, on a fifth of the training data of all so far.
        balance: whether labels weigh the same; off, each example does, as published, so that a task of ten times the
            usual size takes most answers.
    """

    title = "RanPAC (frozen features)"

    projection: int = 2000
    ridge: float | None = None
    balance: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.projection <= MOST:
            raise UserError(f"projection must be from 1 to {MOST} numbers, not {self.projection}")
        if self.ridge is not None and not 0 < self.ridge < float("inf"):
            raise UserError(f"ridge must be a positive number, not {self.ridge}")

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return RanPACLearner(backbone, seed, self)


class RanPACLearner(ClosedFormLearner):
    """The head is W, solved anew with each task; G and C are remembered, the projection comes from the seed.

    W is divided by the temperature that `RandomRidge` fits, and each column's bias is the log of its share of its
    label's examples: so the softmax is a probability, and that of a label the sum over its columns.
    """

    def __init__(self, backbone: Backbone, seed: int, spec: RanPAC) -> None:
        super().__init__(backbone, (), seed, heads=Heads(spec.projection, retrained=True))
        self.regression = RandomRidge(backbone.dim, spec.projection, seed, spec.ridge, spec.balance)

    def memory_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of the sums."""
        return self.regression.shapes(self.num_classes)

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task to G and C and solve; tell the squared error that lambda was chosen by, and lambda."""
        found = self.regression.learn(self.memory, features, columns, labels)
        self.memory = found.sums
        weights = found.weights / found.temperature
        for task in range(self.num_tasks):
            own, head = self.task_columns(task), self.network.heads.slot(task)
            head["weight"].copy_(weights[:, own].T)
            head["bias"].copy_(found.log_shares[own])
        return {"held_out_squared_error": found.error, "ridge": found.ridge}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return h W over the temperature, with each column's bias, [batch, classes seen]."""
        h = self.regression(self.network.top(trunk, task=task))
        return self.network.heads(h, range(self.num_tasks))  # type: ignore[no-any-return]

"""RanPAC without its first phase: one ridge regression over all tasks, on a random projection of frozen features.

McDonnell et al., NeurIPS 2023. The paper first adapts the backbone to the first task (phase 1: adapters, trained by
gradients). That is left out here: this is its phase 2 on the untouched backbone.

Two more things differ, so that a small task does not undo what large ones taught. Labels have the same weight, not
examples (`balance`); with equally many examples per label that changes nothing. Lambda is chosen on held-out examples
of all tasks, not of the newest alone. A label that several tasks teach is one label of the regression.
"""

from dataclasses import dataclass

from softtf.backbones.base import Backbone
from softtf.config.bounds import Positive
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormSpec
from softtf.learners.ridge import RidgeLearner
from softtf.statistics import RandomRidge
from softtf.statistics.base import Dimension


@dataclass(frozen=True)
class RanPAC(ClosedFormSpec, kind="ranpac"):
    """Random projection, relu, and one ridge regression over all classes seen.

    Attributes:
        projection: M, the dimensions that features are projected to; the paper has 10,000. A task's sums take
            4 M (M + 1) bytes, and 8 M per class.
        ridge: lambda. Without it, each task chooses it on a fifth of the training data of all tasks so far.
        balance: give all labels the same weight. Without it all examples have the same weight, as published; then a
            task of ten times the usual size takes most answers.
    """

    title = "RanPAC (frozen features)"

    projection: Dimension = 2000
    ridge: Positive | None = None
    balance: bool = True

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        regression = RandomRidge(backbone.dim, self.projection, seed, self.ridge, self.balance)
        return RanPACLearner(backbone, seed, regression)


class RanPACLearner(RidgeLearner):
    """The regression is `RandomRidge`, whose projection comes from the seed."""

    error_name = "held_out_squared_error"
    fitted = "temperature"

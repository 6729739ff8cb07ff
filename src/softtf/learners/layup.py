"""LayUP: one ridge regression on the [class] tokens of the last blocks, side by side; no random projection.

Ahrens, Lehmann, Lee and Wermter, "Read Between the Layers: Leveraging Multi-Layer Representations for Rehearsal-Free
Continual Learning with Pre-Trained Models", TMLR 2024; their code is ky-ah/LayUP. With f the raw [class] tokens after
the last k = 6 blocks:

    G = sum f f^T     C = sum f y^T     W = (G + lambda I)^-1 C

Lambda is the best of a log grid in 4-fold cross-validation on the newest task, by accuracy over all classes seen; each
fold's fit includes the sums of earlier tasks. This is the form without first-session adaptation, the default of the
published code.

What differs here (docs/methods.md): lambda is the geometric mean of the tasks' choices, and all labels have the same
weight (`TaskRidge`), so that a small task does not undo what large ones taught. The grid is relative to the mean of f^2
and reaches higher. Sums are in float64. For a text, f is the mean of its tokens after each of the last k layers; the
paper has images only.
"""

from dataclasses import dataclass

from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.block_features import LastTokens
from softtf.config.bounds import Count
from softtf.errors import TrainingError
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormSpec
from softtf.learners.ridge import RidgeLearner
from softtf.statistics.random_ridge import ROWS, solve
from softtf.statistics.ridge_sums import RidgeSums, mean_square
from softtf.statistics.task_ridge import TaskRidge
from softtf.statistics.temperature import fold_numbers

FOLDS = 4
FACTORS = (*(10.0**e for e in range(-4, 0)), *(10.0 ** (e / 2) for e in range(11)), 1e-8)  # of the mean of f^2
"""The grid of lambda; the first of equals is taken. The published grid, for raw features, is 10^-4, 10^-3.5 to 10^3 and
finally 10^-8."""


@dataclass(frozen=True)
class LayUP(ClosedFormSpec, kind="layup"):
    """The last blocks' [class] tokens, and one ridge regression over all classes seen.

    Attributes:
        blocks: k, the number of last blocks that are read; all if there are fewer. With tokens of dimension d, a task's
            sums take 2 k d (k d + 1) bytes, and 4 k d per class.
    """

    title = "LayUP (frozen features)"

    blocks: Count = 6

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        features = backbone if isinstance(backbone, LastTokens) else LastTokens(backbone, self.blocks)
        return LayUPLearner(features, seed, LayerRidge(features.dim))


class LayerRidge(TaskRidge):
    """Ridge regression on raw features; choosing lambda takes about 64 (k d)^2 bytes of memory, 1.4 GB on ViT-B."""

    def forward(self, features: Tensor) -> Tensor:
        """Return features [n, size]."""
        return features

    def choose(self, old: RidgeSums, new: RidgeSums, features: Tensor, labels: Tensor) -> tuple[float | None, float]:
        """Return the factor with the best accuracy on held-out examples of the newest task, and its error.

        An example is held out if another has its label. Without such examples there is no factor.
        """
        folds, right = fold_numbers(labels, FOLDS), dict.fromkeys(FACTORS, 0)
        if not (folds >= 0).any():
            return None, 0.0
        for fold in range(FOLDS):
            held = (folds == fold).nonzero()[:, 0].split(ROWS)
            part = RidgeSums.zeros(self.size, len(new.counts))
            for rows in held:
                part.add(features[rows].double(), labels[rows])
            fit = (old + (new - part)).moments(balance=True)
            scale = mean_square(fit.gram, fit.weight)
            for factor in FACTORS:
                try:
                    weights = solve(fit, factor * scale)
                except TrainingError:  # lambda is below rounding errors
                    continue
                for rows in held:
                    right[factor] += int(((features[rows].double() @ weights).argmax(1) == labels[rows]).sum())
        best = max(right, key=lambda factor: right[factor])
        return best, 1 - right[best] / int((folds >= 0).sum())


class LayUPLearner(RidgeLearner):
    """The backbone is `LastTokens`, the regression is `LayerRidge`."""

    error_name = "held_out_error"
    fitted = "lambda"

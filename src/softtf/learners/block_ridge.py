"""BlockRidge: one exact ridge regression on frozen features of several blocks and views.

It builds on two methods. RanPAC (McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for Continual
Learning", NeurIPS 2023) is a ridge regression on a random projection of the last block's features. LayUP (Ahrens et
al., "Read Between the Layers: Leveraging Multi-Layer Representations for Rehearsal-Free Continual Learning with
Pre-Trained Models", TMLR 2024) reads several blocks. New here are: the standard deviation of tokens beside their mean;
several views of an image, short ones after the first, and more of a long text; features standardised by those of drawn
inputs, so that no data set must come first; a fixed rule for lambda; integer sums, exact in any order of tasks; and
probabilities.

Let x_v be the standardised features of view v (`BlockFeatures`), D their dimension, and R_v drawn from the seed:

    h = [relu(R_v^T x_v / sqrt(D))]_v     G = sum h h^T     m_c = mean of class c's h     scores = W^T (h - m) + 1/C

W solves the ridge regression of `ExactRidge`, and m is the mean of all m_c. The same sums give the classes' densities;
the answer pools scores and densities. Nothing is trained, no example is kept, and each sample is answered alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone, Tokens
from softtf.backbones.block_features import BlockFeatures
from softtf.config.bounds import AtLeast, Between
from softtf.errors import UserError
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner, ClosedFormSpec
from softtf.statistics import Share
from softtf.statistics.base import Dimension
from softtf.statistics.exact_ridge import ExactRidge, ExactRidgeSolution
from softtf.statistics.of_regression import OfRegression
from softtf.statistics.random_ridge import column_forms
from softtf.streams.views import MOST_VIEWS

DENSITIES = "densities"
RANGE = ("mean", "spread")  # of the features of drawn inputs; all tasks share them


@dataclass(frozen=True)
class BlockRidge(ClosedFormSpec, kind="block-ridge"):
    """Features of several blocks and views, random units, and one ridge regression over all classes seen.

    Attributes:
        projection: M, the random units of all views together. A task's sums take 2 M (M + 1) bytes, and 4 M per class.
        views: how many views of an image are read: 1 is the usual one, 2 adds the whole image, 3 also adds an enlarged
            centre. Each view costs one pass of the backbone. A text always has one view.
        reach: how much of a long text is read, as a multiple of the backbone's `max_tokens`, up to what the backbone
            accepts.
        short_views: whether the views after the first are read a sixth of the blocks earlier and run no further. With 3
            views this saves a ninth of the time.
        densities: whether the answer pools the regression's scores with the classes' densities, which follow from the
            same sums. It takes a second head of each task, 4 M bytes per class.
    """

    title = "BlockRidge (frozen features)"

    projection: Dimension = 5000
    views: Annotated[int, Between(1, MOST_VIEWS)] = 3
    reach: Annotated[int, AtLeast(1)] = 2
    short_views: bool = True
    densities: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection < self.views:
            raise UserError(f"projection must be at least views, {self.views}, not {self.projection}")

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Let a learner that was saved before there was a setting read its inputs as it did."""
        settings = super().of_earlier(settings)
        return {"reach": 1, "short_views": False, "densities": False, **settings} if "views" in settings else settings

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        features = backbone
        if not isinstance(features, BlockFeatures):
            features = BlockFeatures(backbone, self.views, self.reach, self.short_views)
        return BlockRidgeLearner(features, seed, self.projection // features.views * features.views, self.densities)


SoftTF = BlockRidge
"""The default learner, `soft-tf` on the command line: the method with the best answers per sample.

It trains no masks. On training rows, masks beside BlockRidge gain 1.2 points per sample on texts, and at most 0.95 in
ten tasks of images. The rule asked for one point on both (docs/results-details.md).
"""


class BlockRidgeLearner(OfRegression, ClosedFormLearner):
    """The head is W, solved anew with each task. A task's sums are its share; the features' range is remembered.

    A head's weights are its classes' columns of W; its bias has the constants of their scores. Where there are
    `densities`, a second head has their weights and constants.
    """

    regression: ExactRidge
    common = RANGE

    def __init__(self, backbone: BlockFeatures, seed: int, size: int, densities: bool) -> None:
        extra = {DENSITIES: Heads(size, retrained=True)} if densities else {}
        super().__init__(backbone, (), seed, extra, Heads(size, retrained=True))
        self.features = backbone
        self.regression = ExactRidge(backbone.views, backbone.view_dim, size, seed)
        self.unit_size = size

    @property
    def densities(self) -> Heads | None:
        """The second heads, h to the classes' log-densities, if the method has any."""
        if DENSITIES not in self.extra_slots:
            return None
        heads = self.extra_slots[DENSITIES]
        assert isinstance(heads, Heads)
        return heads

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the features' range, of the columns' examples and labels, and of the sharpness."""
        dim = (self.features.range_dim,)
        pool = {"sharpness": TensorForm(least=0)} if self.densities else {}
        return {"mean": TensorForm(dim), "spread": TensorForm(dim, least=1e-9), **column_forms(labels), **pool}

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Add the task's sums and solve; return lambda, to show."""
        self.memory = self.memory or self._usual_range()
        before = self.shares_of(labels)
        share = self.regression.share(before, features, columns, labels, self._standardised)
        self.keep_share(share.tensors)
        return {"ridge": self._set(self.regression.solve([*before, share]))}

    def solve(self, shares: Sequence[Share]) -> None:
        """Solve the regression over all shares."""
        self.memory = self.memory or self._usual_range() if shares else {}
        if shares:
            self._set(self.regression.solve(shares))

    def _set(self, found: ExactRidgeSolution) -> float:
        self.memory = self.memory | {"counts": found.counts, "labels": found.labels}
        self.set_heads(found.weights, found.bias)
        if self.densities:
            self.memory = self.memory | {"sharpness": found.sharpness}
            self.set_heads(found.densities, found.densities_bias, self.densities)
        return found.ridge

    def _usual_range(self) -> dict[str, Tensor]:
        return dict(zip(RANGE, self.features.usual_range(), strict=True))

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return log p of every class seen, up to a constant, [batch, classes seen]."""
        h = self.units(trunk, task)
        tasks = range(self.num_tasks)
        densities = self.densities(h, tasks) if self.densities else None
        return self.regression.logits(self.memory, self.network.heads(h, tasks), densities)

    def units(self, trunk: Tokens, task: int) -> Tensor:
        """Return h [batch, M], before it is rounded."""
        h: Tensor = self.regression(self._standardised(self.network.top(trunk, task=task)))
        return h

    def _standardised(self, features: Tensor) -> Tensor:
        mean, spread = (self.features.for_all_views(self.memory[name].to(features)) for name in RANGE)
        return (features - mean) / spread

"""L2P (Wang et al., 2022): a pool of prompts; each sample takes the prompts whose keys are nearest to its query.

Loss: cross-entropy over the task's own classes (`classes`) + key_weight * sum over the chosen keys of
(1 - cos(q(x), k_i)).

Plain L2P needs no task: pool and keys are shared, tasks differ only in their columns of the classifier, and the answer
is the best of all classes seen. With soft masks (`adapt`) every task has its own network above the shared prompts. Then
each task also has a key, trained by the same matching loss, for Prompt ID. Gradient ID mixes the masks, and each sample
keeps the prompts that it chose.

With `projection` (PGP) the gradients of the pool's prompts are projected. In block 1's attention prompts meet the
embedded tokens x and the prompts p; x dp^T = 0 and p dp^T = 0 would leave the scores of old inputs there unchanged.
With `key_eps` the pool's keys, which meet the queries, are projected too: q dk^T = 0. PGP's code has 0.97 there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.base import Adaptation, AdaptationSpec, NoAdaptation
from softtf.adaptations.prefix import Length
from softtf.adaptations.projection import Projection
from softtf.adaptations.prompt_pool import PromptPool
from softtf.adaptations.task_keys import TaskKeys
from softtf.backbones.base import Backbone
from softtf.config.bounds import NonNegative, Positive, Share
from softtf.errors import UserError
from softtf.learners.base import Batch, Learner
from softtf.learners.projected import Projected, ProjectedLearner, real_rows
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.network import SharedPass
from softtf.seeds import derive_seed

KEYS = "keys"


@dataclass(frozen=True)
class L2P(LearnerSpec, kind="l2p"):
    """L2P: each sample takes the nearest prompts of a shared pool, with any further adaptation.

    Attributes:
        pool_size: prompts in the pool.
        length: tokens of each prompt; 30 in the ImageNet-R runs.
        top_k: prompts that each sample takes.
        key_weight: weight of the matching loss.
        key_scale: keys start as U(-key_scale, key_scale), as in DualPrompt.
        adapt: a further adaptation; `SoftMask(...)` makes it L2P + Soft-TF.
        projection: `Projection()` makes it L2P + PGP.
        key_eps: with `projection`, the share of the queries' spectrum out of which the pool's keys are projected (0.97
            in the published runs); None leaves the keys free.
        classes: the cross-entropy is over the task's `own` classes, as in the published code (`train_mask`), or over
            all classes `seen`, as in DualPrompt.
    """

    title = "L2P"
    pool_size: Length = 10
    length: Length = 5
    top_k: Length = 5
    key_weight: NonNegative = 0.1
    key_scale: Positive = 1.0
    adapt: AdaptationSpec = NoAdaptation()
    projection: Projection | None = None
    key_eps: Share | None = None
    classes: LossClasses = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k > self.pool_size:
            raise UserError(f"top_k must be at most pool_size, {self.pool_size}, not {self.top_k}")
        if self.key_eps is not None and self.projection is None:
            raise UserError(f"key_eps {self.key_eps} projects nothing without a projection; leave it out")

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: the further adaptation does not fit the backbone.
        """
        generator = torch.Generator().manual_seed(derive_seed(seed, "shared"))
        pool = PromptPool(self.pool_size, self.length, self.top_k, backbone.dim, self.key_scale, generator)
        return L2PLearner(backbone, [pool, *self.adapt.build(backbone)], seed, self)


class L2PLearner(ProjectedLearner):
    """Cross-entropy of features with each sample's own prompts, and the matching loss of the chosen keys."""

    loss_is_mean = True
    query_use = "matching"

    def __init__(self, backbone: Backbone, adaptations: list[Adaptation], seed: int, spec: L2P) -> None:
        self.spec, self.projection = spec, spec.projection
        tasks_differ = any(a.task_blocks for a in adaptations)
        keys = {"task_keys": TaskKeys(backbone.dim, spec.key_scale)} if tasks_differ else None
        super().__init__(backbone, adaptations, seed, keys, classes=spec.classes)

    @property
    def pool(self) -> PromptPool:
        """The prompts and their keys."""
        pool = self.network.adaptations[0]
        assert isinstance(pool, PromptPool)
        return pool

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and the matching loss of the pool's keys and, with masks, of the task's key."""
        shared = SharedPass(self.network, batch.inputs, batch.query)
        features = self.network.top(shared.trunk, task=self.task)
        losses = {
            "cross_entropy": self.cross_entropy_of(features, batch.targets),
            "matching": self.spec.key_weight * self.pool.matching_loss(shared.query),
        }
        if self.network.top_depends_on_task:
            keys = self.extra_slots["task_keys"]
            assert isinstance(keys, TaskKeys)
            losses["task_matching"] = self.spec.key_weight * keys.matching_loss(shared.query, self.task)
        return losses

    def prompts(self) -> dict[str, Projected]:
        """Return the pool's prompts and, if they are projected too, its keys, whose space is of queries alone."""
        eps = self.spec.key_eps
        keys = {} if eps is None else {KEYS: Projected(self.pool.keys, eps=eps, met_alone=True)}
        return {"pool": Projected(self.pool.prompts), **keys}

    def met(self, shared: SharedPass) -> dict[str, Tensor]:
        """Return the embedded tokens before block 1, and the queries."""
        queries = {} if self.spec.key_eps is None else {KEYS: shared.query}
        return {"pool": real_rows(shared.stem.x, shared.stem.mask), **queries}

"""EASE (Zhou et al., CVPR 2024): one adapter per task makes one feature space per task; all have prototypes.

"Expandable Subspace Ensemble for Pre-Trained Model-Based Class-Incremental Learning"; their code is
sun-hailong/CVPR24-Ease. A task trains a new adapter in every block with a cosine classifier of its own classes, which
is then dropped. P[c, j] is the mean feature of class c in the space of task j. When a later task j adds its space,
there are no examples of the classes of an earlier task i. Their prototypes there are synthesised:

    P[a, j] = sum_b s_b P[b, j],  s = softmax over b of cos(P[a, i], P[b, i]),  b: all classes of tasks j and later.

The score of a class of task i, out of T tasks, is cos(f_i, P[c, i]) + alpha / (T - 1) times the sum over the other
tasks j of cos(f_j, P[c, j]). With the frozen space (`frozen_weight`), beta cos(q, P[c]) is added. No task is inferred;
each sample is answered alone, in T passes.

What differs here (docs/methods.md): the adapter is ours, in series after the MLP (as in `ranpac_fsa`). Tasks may have
any number of classes. Scores have a temperature, which changes no answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.adapter import Adapter
from softtf.adaptations.base import AdaptationSpec
from softtf.adaptations.slots import Storage
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import NonNegative
from softtf.config.published import published_sgd
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Batch, Learner
from softtf.learners.class_counts import ClassCounts
from softtf.learners.cosine_head import CosineHead
from softtf.learners.fine_tuning import network_features
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.subspaces import subspaces, subspaces_of
from softtf.learners.task_data import TaskData
from softtf.statistics.temperature import FittedMean, fit_temperature

HEAD, PROTOTYPES, FROZEN = "cosine_head", "prototypes", "frozen"
TEMPERATURE = FittedMean("temperatures", default=0.05)


@dataclass(frozen=True)
class EASE(LearnerSpec, kind="ease"):
    """One adapter per task, and nearest prototypes in all tasks' feature spaces.

    Attributes:
        adapt: the adaptation that each task trains.
        others_weight: alpha, the weight of all other tasks' spaces together.
        frozen_weight: beta, the weight of the frozen backbone's own space; 0 leaves it out.
        storage: exact by default, since prototypes are measured in the space of the trained parameters.
    """

    title = "EASE"
    training: ClassVar[Mapping[str, Any]] = published_sgd(0.025, 48)
    classes: ClassVar[LossClasses] = "own"
    adapt: AdaptationSpec = Adapter("all", 64, "mlp")
    others_weight: NonNegative = 0.1
    frozen_weight: NonNegative = 0.0
    storage: Storage = field(default="float32", kw_only=True)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: the adaptation does not fit the backbone.
        """
        return EASELearner(backbone, seed, self)


class EASELearner(Learner):
    """Remembers the prototypes [classes, tasks, dim]; they are exact unless the space is newer than the class."""

    loss_is_mean = True

    def __init__(self, backbone: Backbone, seed: int, spec: EASE) -> None:
        self.spec = spec
        heads = ClassCounts(backbone.dim)
        super().__init__(backbone, spec.adapt.build(backbone), seed, {HEAD: CosineHead(backbone.dim)}, heads)

    @property
    def answer_depends_on_task(self) -> bool:
        """All tasks' networks answer together."""
        return False

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy over the task's own classes."""
        head = self.extra_slots[HEAD]
        assert isinstance(head, CosineHead)
        features = network_features(self.network, batch.inputs)
        return {"cross_entropy": head.cross_entropy(features, self.own(batch.targets), self.task)}

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the prototypes and of the temperature."""
        dim = self.network.backbone.dim
        frozen = {FROZEN: TensorForm((len(labels), dim))} if self.spec.frozen_weight else {}
        whole = TensorForm((len(labels), self.num_tasks, dim))
        return {PROTOTYPES: whole, **frozen, TEMPERATURE.name: TEMPERATURE.form}

    def end_task(self, data: TaskData) -> None:
        """Close the task, add its classes' prototypes, and synthesise those of older classes in its space.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: a feature is not finite.
        """
        super().end_task(data)
        features, own = subspaces_of(self, data), self.own(data.columns)
        exact = class_means(features.flatten(1), own).unflatten(1, features.shape[1:])
        known = self.memory.get(PROTOTYPES, exact[:0])
        old = F.pad(known, (0, 0, 0, self.num_tasks - known.shape[1]))
        memory = {PROTOTYPES: synthesised(torch.cat([old, exact]).float(), self.column_tasks())}
        query = None
        if self.spec.frozen_weight:
            query = data.features.values
            means = class_means(query, own).float()
            memory[FROZEN] = torch.cat([self.memory.get(FROZEN, means[:0]), means])
        scores = self.scores(features, query, memory)
        chosen = fit_temperature(scores, data.columns) if self.num_classes > 1 else None
        self.memory = memory | TEMPERATURE.added(self.memory, chosen, len(own))

    def scores(self, features: Tensor, query: Tensor | None, memory: Mapping[str, Tensor]) -> Tensor:
        """Return the score of each class, [n, classes], from features [n, tasks, dim] and q(x) [n, dim]."""
        tasks = self.column_tasks().to(features.device)
        prototypes = memory[PROTOTYPES].to(features)
        cosines = torch.einsum("njd,cjd->njc", F.normalize(features, dim=-1), F.normalize(prototypes, dim=-1))
        others = self.spec.others_weight / max(1, self.num_tasks - 1)
        own = F.one_hot(tasks, self.num_tasks).T.to(features)  # [tasks, classes]
        found = (cosines * (own + others * (1 - own))).sum(1)
        if query is not None:
            found = found + self.spec.frozen_weight * F.normalize(query) @ F.normalize(memory[FROZEN].to(query)).T
        return found

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the scores divided by the temperature, [batch, classes seen]."""
        query = self.network.query(trunk) if self.spec.frozen_weight else None  # no shared parameter edits the trunk
        found = self.scores(subspaces(self, trunk), query, self.memory)
        return found / TEMPERATURE.scalar(self.memory).to(found)


def class_means(features: Tensor, classes: Tensor) -> Tensor:
    """Return the mean feature of each class, [classes, dim], in float64; features: [n, dim]; classes: [n], from 0."""
    sums = torch.zeros(int(classes.max()) + 1, features.shape[1], dtype=torch.float64)
    return sums.index_add_(0, classes, features.double()) / torch.bincount(classes)[:, None]


def synthesised(prototypes: Tensor, tasks: Tensor) -> Tensor:
    """Return the prototypes, with those in newer tasks' spaces synthesised from the classes of newer tasks.

    Args:
        prototypes: [classes, tasks, dim], exact unless the space is newer than the class's task.
        tasks: [classes], the task of each class.
    """
    found = prototypes.clone()
    for space in range(1, prototypes.shape[1]):
        later = tasks >= space
        for old in range(space):
            here, there = (F.normalize(prototypes[rows, old]) for rows in (tasks == old, later))
            found[tasks == old, space] = (here @ there.T).softmax(1) @ prototypes[later, space]
    return found

"""SLM, the scalable language model (Peng et al., ICLR 2024): low-rank increments, retrieved by similarity to the input.

A store has keys and values: values are low-rank increments of weights; keys are vectors in the space of a frozen
encoder's features. An input retrieves the `top_k` keys most similar to it, from any task. The network answers with the
sum of their increments, weighted by similarity (joint adaptive re-parameterisation). No task has to be known.
Similarity is the mean, over `groups` equal parts of the feature, of the cosine of these parts.

As published: keys are settled first and kept; then increments are trained under retrieval, by cross-entropy on the
current task alone; 4 keys per task; 6 groups (of 128 dimensions on BERT-base); the 4 nearest keys, whose similarities,
divided by their sum, are the weights; increments of the attention output of every layer, scaled by 1.

What differs here, with "theirs" for the paper or its code:
- keys are k-means centres; theirs take gradient steps that raise the similarity of each query and its nearest keys,
  which serves the same purpose;
- one increment of rank 48 per task, to which all its keys point; it starts as LoRA does. Theirs have rank 12, one per
  key, and start as products of zeros and N(0, 1);
- retrieval uses the backbone's own feature q(x), untouched; theirs a separate sentence encoder (mpnet);
- the store has the keys of the tasks so far; theirs those of all tasks from the start;
- each sample has its own similarities; the published code averages them over the batch, which tells a batch its task;
- training has the recipe's settings, as all rows of a table do; theirs AdamW at 3e-4 with warm-up and a linear fall, 5
  epochs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.lora import LoRA, LoRAsBeside, parts_of
from softtf.adaptations.targets import blocks_of, parse_targets
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import Count
from softtf.errors import UserError
from softtf.files.tensor_form import Forms, TensorForm, in_runs
from softtf.learners.base import Batch, Learner
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.network import SharedPass
from softtf.seeds import derive_seed
from softtf.statistics.centroids import k_means

KEYS, TASKS = "store.keys", "store.tasks"


@dataclass(frozen=True)
class SLM(LearnerSpec, kind="slm"):
    """One increment of a frozen network per task, mixed for each sample by the keys near to it.

    Attributes:
        keys: keys per task.
        groups: equal parts of a feature that are compared separately.
        top_k: keys that a sample retrieves.
        increments: the layers, targets and rank of the increments.
        classes: the cross-entropy is over the task's `own` classes, as in the published code, which has one classifier
            per task; or over all classes `seen`; then every task trains those of all tasks (`softtf.learners.spans`).
    """

    title = "SLM"
    keys: Count = 4
    groups: Count = 6
    top_k: Count = 4
    increments: LoRA = LoRA(layers="all", rank=48, targets="proj")
    classes: LossClasses = "own"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: groups that do not divide the feature, or increments that do not fit the backbone.
        """
        if backbone.dim % self.groups:
            raise UserError(f"groups must divide the backbone's feature of {backbone.dim}; {self.groups} do not")
        blocks = blocks_of(self.increments.layers, backbone, "increment")
        parts = {block: parts_of(parse_targets(self.increments.targets), backbone, block) for block in blocks}
        return SLMLearner(backbone, LoRAsBeside(parts, self.increments), seed, self)


class SLMLearner(Learner):
    """Cross-entropy under retrieval from what the store holds so far.

    The memory holds every key and its task.
    """

    loss_is_mean = True
    query_use = "matching"

    def __init__(self, backbone: Backbone, increments: LoRAsBeside, seed: int, spec: SLM) -> None:
        super().__init__(backbone, [increments], seed, classes=spec.classes)
        self.spec = spec

    @property
    def step_is_fixed(self) -> bool:
        """False: which tasks' increments run depends on the values of the batch."""
        return False

    @property
    def answer_depends_on_task(self) -> bool:
        """False: what is retrieved depends on the sample alone."""
        return False

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the store's keys and of the task of each."""
        return {KEYS: TensorForm(("keys", self.network.heads.dim)), TASKS: in_runs("keys", self.num_tasks)}

    @torch.no_grad()
    def begin_task(self, data: TaskData) -> None:
        """Open the task, and put its keys into the store: the centres of its examples' frozen features.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: a feature is not finite.
        """
        super().begin_task(data)
        queries = self.in_groups(data.features.values.double())
        keys = k_means(queries, self.spec.keys, derive_seed(self.seed, "keys", self.task))[0].float()
        tasks = torch.full((len(keys),), self.task)
        if KEYS in self.memory:
            keys, tasks = torch.cat([self.memory[KEYS], keys]), torch.cat([self.memory[TASKS], tasks])
        self.memory = self.memory | {KEYS: keys, TASKS: tasks}

    def in_groups(self, vectors: Tensor) -> Tensor:
        """Return vectors [n, dim] with all groups scaled to one length, so that products are mean cosines of groups."""
        groups = vectors.unflatten(1, (self.spec.groups, -1))
        unit = F.normalize(groups, dim=2).flatten(1)
        return unit / math.sqrt(self.spec.groups)

    def retrieved(self, query: Tensor) -> Tensor:
        """Return the share of each task's increment, [batch, tasks], for queries [batch, dim]; rows sum to 1."""
        keys, tasks = (self.memory[name].to(query.device) for name in (KEYS, TASKS))
        similarities: Tensor = self.in_groups(query) @ self.in_groups(keys.to(query)).T
        best = similarities.topk(min(self.spec.top_k, len(keys)), dim=1)
        weights = best.values.clamp(min=1e-6)
        shares = query.new_zeros(len(query), self.num_tasks)
        return shares.scatter_add_(1, tasks[best.indices], weights / weights.sum(1, keepdim=True))

    def features(self, trunk: Tokens) -> Tensor:
        """Return the features [batch, dim], each sample's by its own mixture."""
        assert trunk.query is not None
        return self.network.top(trunk, mixture=self.retrieved(trunk.query))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        features = self.features(SharedPass(self.network, batch.inputs, batch.query).trunk)
        return {"cross_entropy": self.cross_entropy_of(features, batch.targets)}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen]; the same for every task."""
        logits: Tensor = self.network.heads(self.features(trunk), range(self.num_tasks))
        return logits

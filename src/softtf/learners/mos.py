"""MOS (Sun et al., AAAI 2025): one adapter per task, pulled towards earlier ones; each sample finds its task in rounds.

"MOS: Model Surgery for Pre-Trained Model-Based Class-Incremental Learning"; their code is sun-hailong/AAAI25-MOS. A
task trains its adapter, which starts as the previous one, and a linear head at a tenth of the rate. Loss: cross-entropy
over the task's own classes + reg * R (`contrasted`). After each step the adapter moves a tenth of the way to the mean
of the earlier tasks' adapters. The heads are then aligned together on class Gaussians (`aligned`).

Each sample is answered alone. First, k is the task of the class whose mean feature in task 1's network is nearest by
cosine. Then, at most four times, z is the aligned head's answer in task k's network, and k becomes the task of z's best
class, until k stays the same. The answer is softmax(z) + softmax(T cos), with the cosines of the first step and the
number of tasks T.

What differs here (docs/methods.md): the adapter moves to the mean once per step, as in the paper, and never after the
task. The published code moves it thirteen times per step, and also in every block of every forward pass of a test. So
its stored adapters become that mean, and its answers depend on what was asked before. The adapter is ours, in series
after the MLP (as in `ranpac_fsa`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Layers
from softtf.adaptations.continued_adapters import ContinuedAdapters, continued
from softtf.adaptations.quantised import Rank
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import Share
from softtf.config.published import published_sgd
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Batch, Learner
from softtf.learners.contrasted import ContrastedLearner, ContrastedSpec
from softtf.learners.ease import class_means
from softtf.learners.fine_tuning import network_features
from softtf.learners.rehearsing import features_of
from softtf.learners.task_data import TaskData

PROTOTYPES = "prototypes"
ROUNDS = 4


@dataclass(frozen=True)
class MOS(ContrastedSpec, kind="mos"):
    """One adapter per task, kept near the others, and self-refined retrieval of one for each sample.

    Attributes:
        layers: layers with adapters, in any notation of `SoftMask.layers`.
        rank: width of the adapters.
        pull: the share of the way to the earlier adapters' mean that an adapter moves after each step.
        storage: always exact, as each adapter continues the one before.
    """

    title = "MOS"
    training: ClassVar[Mapping[str, Any]] = published_sgd(0.03, 48)
    layers: Layers = "all"
    rank: Rank = 16
    pull: Share = 0.1
    storage: Literal["float32"] = field(default="float32", kw_only=True)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: a layer is not in the backbone.
        """
        return MOSLearner(backbone, seed, self)


class MOSLearner(ContrastedLearner):
    """One network per task and one aligned head; also remembers the classes' means in the first task's network."""

    def __init__(self, backbone: Backbone, seed: int, spec: MOS) -> None:
        self.spec = spec
        super().__init__(backbone, [continued(spec.layers, spec.rank, backbone)], seed, spec)

    @property
    def answer_depends_on_task(self) -> bool:
        """False: a sample finds its task within the answer."""
        return False

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Move the adapter that the last step left, and return the loss with it."""
        if batch.step:
            self._pull()
        return super().loss(batch)

    def _pull(self) -> None:
        """Move the adapter towards the mean of the earlier tasks' adapters."""
        (adapters,) = self.network.adaptations
        assert isinstance(adapters, ContinuedAdapters)
        adapters.pull(self.spec.pull)

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the prototypes, and those of alignment."""
        return {**super().memory_forms(labels), PROTOTYPES: TensorForm((len(labels), self.network.backbone.dim))}

    def end_task(self, data: TaskData) -> None:
        """Move the adapter, close the task, align, and remember its classes' means in the first task's network."""
        self._pull()
        super().end_task(data)
        features = features_of(data.loader, partial(network_features, self.network, task=0)).cpu()
        new = class_means(features, self.own(data.columns)).float()
        self.memory = self.memory | {PROTOTYPES: torch.cat([self.memory.get(PROTOTYPES, new[:0]), new])}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the log of the mean of softmax(z) and softmax(T cos), [batch, classes seen]."""
        head: Mapping[str, Tensor] = self.aligned
        first = self.network.top(trunk, task=0)
        cosines = F.normalize(first) @ F.normalize(self.memory[PROTOTYPES].to(first)).T

        def answer(rows: Tensor, task: int) -> Tensor:
            features = first[rows] if task == 0 else self.network.top(trunk[rows], task=task)
            return self.class_logits(features, head)

        z = refined(answer, cosines, self.column_tasks().to(cosines.device))
        return ((z.softmax(1) + (self.num_tasks * cosines).softmax(1)) / 2).log()


def refined(answer: Callable[[Tensor, int], Tensor], start: Tensor, tasks: Tensor) -> Tensor:
    """Return each sample's z [batch, classes] once its task stays the same, after at most `ROUNDS` rounds.

    Args:
        answer: returns z for the samples at rows [m] in a task's network.
        start: [batch, classes]; the best class gives the first task.
        tasks: [classes], the task of each class.
    """
    asked = tasks[start.argmax(1)]
    found, unsettled = torch.zeros_like(start), torch.arange(len(start), device=start.device)
    for _ in range(ROUNDS):
        for task in asked[unsettled].unique().tolist():
            rows = unsettled[asked[unsettled] == task]
            found[rows] = answer(rows, task).to(found)
        named = tasks[found[unsettled].argmax(1)]
        moved = named != asked[unsettled]
        unsettled = unsettled[moved]
        asked[unsettled] = named[moved]
        if not len(unsettled):
            break
    return found

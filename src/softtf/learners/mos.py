"""MOS (Sun et al., AAAI 2025): an adapter a task, pulled to the earlier ones, which a sample finds by asking again.

"MOS: Model Surgery for Pre-Trained Model-Based Class-Incremental Learning"; their code is sun-hailong/AAAI25-MOS. A
task trains its adapter, which starts as the previous one, and a linear head at a tenth of the rate. Loss: cross-entropy
over the task's own classes + reg * R (`contrasted`). After each step the adapter moves by a tenth to the mean of the
earlier tasks'. The heads are then aligned as one on class Gaussians (`aligned`).

The answer, of each sample alone: k is the task of the class whose mean feature in task 1's network is nearest by
cosine. At most four times, z is the aligned head's answer in task k's network, and k becomes the task of its best
class, until it stays. The answer is softmax(z) + softmax(T cos), cos being those cosines, T the number of tasks.

What differs here (docs/methods.md): the move to the mean is once a step, as in the paper, and never after the task. The
published code moves thirteen times a step, and in every block of every forward pass of a test too, so that its stored
adapters become that mean and its answers depend on what was asked before. The adapter is ours, in series on the MLP's
output (as in `ranpac_fsa`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Layers
from softtf.adaptations.continued_adapters import ContinuedAdapters, continued
from softtf.adaptations.quantised import Rank
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import Share
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Learner
from softtf.learners.contrasted import ContrastedLearner, ContrastedSpec
from softtf.learners.ease import class_means
from softtf.learners.fine_tuning import network_features
from softtf.learners.rehearsing import features_of
from softtf.learners.task_data import TaskData

PROTOTYPES = "prototypes"
ROUNDS = 4


@dataclass(frozen=True)
class MOS(ContrastedSpec, kind="mos"):
    """Adapters of tasks' own that stay near each other, and self-refined retrieval of one for each sample.

    Attributes:
        layers: where adapters go, in any notation of `SoftMask.layers`.
        rank: their width.
        pull: how far an adapter moves to the mean of the earlier ones after each step.
        storage: exact, as adapters go on from earlier ones.
    """

    title = "MOS"
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
    """One network a task under one aligned head; remembers the classes' means in the first task's network too."""

    def __init__(self, backbone: Backbone, seed: int, spec: MOS) -> None:
        self.spec = spec
        super().__init__(backbone, [continued(spec.layers, spec.rank, backbone)], seed, spec)

    @property
    def answer_depends_on_task(self) -> bool:
        """A sample finds its task in the answer itself."""
        return False

    def after_step(self) -> None:
        """Move the adapter to the mean of the earlier tasks'."""
        (adapters,) = self.network.adaptations
        assert isinstance(adapters, ContinuedAdapters)
        adapters.pull(self.spec.pull)

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the prototypes, besides those of alignment."""
        return {**super().memory_forms(labels), PROTOTYPES: TensorForm((len(labels), self.network.backbone.dim))}

    def end_task(self, data: TaskData) -> None:
        """Close the task, align, and remember its classes' means in the first task's network."""
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
    """Return each sample's z [batch, classes] after it has found its task, in at most `ROUNDS` rounds.

    Args:
        answer: gives z of the samples at rows [m] in a task's network.
        start: [batch, classes], whose best class names the first task to ask.
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

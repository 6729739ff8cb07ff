"""MBPA++ (de Masson d'Autume et al., NeurIPS 2019): an episodic memory, for sparse replay and for adaptation in tests.

Each example is written to the memory with a given probability. One in `replay_every` steps of a task also learns as
many examples as the batch has, drawn from the memory of earlier tasks (in the paper that is a step of its own). To
answer for x, the weights are adapted, for x alone, to its K nearest neighbours (x_k, y_k) in the memory, by Euclidean
distance of the frozen backbone's features:

    W_x = argmin over V of  lambda |V - W|^2 - 1/K sum_k log p(y_k | x_k; V),   by L gradient steps from W.

The paper adapts all weights of the network; this takes L forward and backward passes over K neighbours for each test
sample. Here only the classifier is adapted, on features that stay fixed. The neighbours' features are kept, and W_x - W
stays in their span, so a whole batch of test samples, each with its own weights, is a few small products. The step size
is `rate` / the mean |feature|^2 of the neighbours, so that one rate suits backbones whose features differ in scale.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation
from softtf.adaptations.fine_tuning import FineTuning
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import AtLeast, Count, NonNegative, Share
from softtf.files.tensor_form import INTEGERS, Forms, TensorForm
from softtf.learners.base import Batch, Learner
from softtf.learners.fine_tuning import WHOLE_NETWORK, FineTunedLearner
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.memory import OnDevice, concatenate, concatenated_forms, separate
from softtf.seeds import derive_seed
from softtf.statistics.centroids import EXACT
from softtf.streams import Loader

EXAMPLES, COLUMNS, KEYS, FEATURES = ("episodes" + name for name in ("", ".columns", ".keys", ".features"))


@dataclass(frozen=True)
class MBPA(LearnerSpec, kind="mbpa++"):
    """Fine-tune the whole network with sparse replay; adapt the classifier to each test sample's neighbours.

    Attributes:
        write: probability that an example is written to the memory, which gets at least one of each task. The paper
            writes all, and finds that a tenth costs little accuracy.
        replay_every: one in this many steps also replays; 100 is the paper's 1%.
        neighbours: K, the neighbours that the classifier is adapted to; 32 in the paper.
        steps: L, the gradient steps of adaptation; 0 means sparse replay alone.
        rate: step size of adaptation, relative to the neighbours' mean squared feature.
        pull: lambda, weight of the distance to the learned weights.
        tune: the weights that are trained.
        classes: new examples are compared with all classes `seen` (the paper has one classifier of all classes), or
            with the task's `own`; memories, in replay and adaptation, with all seen (`softtf.learners.spans`).
    """

    title = "MBPA++"
    training = WHOLE_NETWORK
    write: Share = 0.1
    replay_every: Count = 100
    neighbours: Count = 32
    steps: Annotated[int, AtLeast(0)] = 30
    rate: NonNegative = 1.0
    pull: NonNegative = 1e-3
    tune: FineTuning = FineTuning()
    classes: LossClasses = "seen"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return MBPALearner(backbone, seed, self)


class MBPALearner(FineTunedLearner):
    """Cross-entropy of the batch and, in some steps, of memories.

    The memory holds examples, their columns, their frozen features (`keys`) and their features in today's network.
    """

    def __init__(self, backbone: Backbone, seed: int, spec: MBPA) -> None:
        super().__init__(backbone, spec.tune, seed, spec.classes)
        self.spec = spec
        self.loader: Loader | None = None
        self.here = OnDevice()
        tuned = self.network.adaptations[0]
        assert isinstance(tuned, Adaptation)
        tuned.reads_query = True  # the trunk's tokens then carry the query, with which `logits` finds neighbours

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and keep its loader."""
        super().begin_task(data)
        self.loader = data.loader

    def end_task(self, data: TaskData) -> None:
        """Write some of the task's examples, close the task, and release its loader."""
        self.write(data.loader)
        super().end_task(data)
        self.loader = None

    def features(self, inputs: Tensor) -> Tensor:
        """Return the network's features [b, dim] of prepared inputs; no query is computed."""
        return self.network.top(self.network.trunk(self.network.stem(inputs)), task=self.task)

    def all_logits(self, inputs: Tensor) -> Tensor:
        """Return the classifier's logits [b, classes seen] of prepared inputs."""
        logits: Tensor = self.network.heads(self.features(inputs), range(self.num_tasks))
        return logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the batch and, in a step that replays, of memories."""
        logits = self.all_logits(batch.inputs)
        losses = {"cross_entropy": self.cross_entropy(logits, batch.targets), "replay": logits.new_zeros(())}
        if (batch.step + 1) % self.spec.replay_every == 0 and COLUMNS in self.memory:
            assert self.loader is not None
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "replay", self.task, batch.step))
            columns = self.memory[COLUMNS]
            rows = torch.randperm(len(columns), generator=generator)[: len(batch.rows)]
            inputs = self.loader.prepared(separate(EXAMPLES, self.memory, rows), generator)
            losses["replay"] = F.cross_entropy(self.all_logits(inputs), columns[rows].to(logits.device))
        return losses

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of what the memory holds."""
        backbone = self.network.backbone
        return {
            **concatenated_forms(EXAMPLES, "episodes", backbone.preparation.loaded_form),
            COLUMNS: TensorForm(("episodes",), INTEGERS, 0, self.num_classes - 1),
            KEYS: TensorForm(("episodes", backbone.dim)),
            FEATURES: TensorForm(("episodes", self.network.heads.dim)),
        }

    @torch.no_grad()
    def write(self, loader: Loader) -> None:
        """Write a random share of the task's examples with their keys; compute the whole memory's features anew.

        At least one example is written, so that the memory is never empty once a task is learned.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "write", self.task))
        drawn = torch.rand(len(loader.examples), generator=generator)
        rows = (drawn <= drawn.min().clamp_min(self.spec.write)).nonzero()[:, 0]
        new = loader.loaded(rows.tolist())
        examples = separate(EXAMPLES, self.memory) + new
        found = {
            KEYS: [self.network.query(self.network.stem(inputs)).cpu() for inputs in loader.unaugmented(new)],
            COLUMNS: [loader.targets.cpu()[rows]],
        }
        kept = {
            name: torch.cat([*([self.memory[name]] if name in self.memory else []), *found[name]]) for name in found
        }
        kept[FEATURES] = torch.cat([self.features(inputs).cpu() for inputs in loader.unaugmented(examples)])
        self.memory = self.memory | concatenate(EXAMPLES, examples) | kept

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen]; each sample's classifier is adapted to its own neighbours."""
        features, classes = self.network.top(trunk, task=task), range(self.num_tasks)
        logits: Tensor = self.network.heads(features, classes)
        if not self.spec.steps or KEYS not in self.memory:
            return logits
        assert trunk.query is not None
        near = nearest(trunk.query, self.here.get(KEYS, self.memory, trunk.query), self.spec.neighbours)
        found, columns = (self.here.get(name, self.memory, features)[near] for name in (FEATURES, COLUMNS))
        moved = adapted(found, self.network.heads(found, classes), columns, self.spec)
        return logits + torch.einsum("bkd,bd,bkc->bc", with_one(found), with_one(features), moved)


def nearest(queries: Tensor, keys: Tensor, count: int) -> Tensor:
    """Return the indices [b, min(count, n)] of the keys [n, dim] that are nearest to each query [b, dim]."""
    return torch.cdist(queries, keys, compute_mode=EXACT).topk(min(count, len(keys)), largest=False).indices


def with_one(features: Tensor) -> Tensor:
    """Return features [..., dim] with a 1 appended for the bias."""
    return F.pad(features, (0, 1), value=1.0)


def adapted(features: Tensor, logits: Tensor, columns: Tensor, spec: MBPA) -> Tensor:
    """Return c [b, K, classes] of W_x = W + sum_k c_k (x_k, 1)^T after the gradient steps.

    A step from W_x is  W_x - step (2 lambda (W_x - W) + 1/K sum_k (p_k - y_k) (x_k, 1)^T).

    Args:
        features: x_k, those of each sample's neighbours [b, K, dim].
        logits: the neighbours' logits under W, [b, K, classes].
        columns: the neighbours' labels, [b, K].
        spec: has the number of steps, the rate and the pull.
    """
    inputs = with_one(features)
    products = inputs @ inputs.transpose(1, 2)
    step = spec.rate / features.square().sum(2).mean(1)[:, None, None]
    labels, moved = F.one_hot(columns, logits.shape[2]).to(logits), torch.zeros_like(logits)
    for _ in range(spec.steps):
        errors = (logits + products @ moved).softmax(2) - labels
        moved = moved - step * (2 * spec.pull * moved + errors / columns.shape[1])
    return moved

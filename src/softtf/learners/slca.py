"""SLCA (Zhang et al., ICCV 2023): a slow backbone, and a classifier aligned on class Gaussians.

"SLCA: Slow Learner with Classifier Alignment for Continual Learning on a Pre-trained Model"; their code is
GengDavid/SLCA. Stage 1 trains the whole backbone further, at a hundredth of the rate of the task's own head, by the
cross-entropy over the task's own classes. Stage 2 aligns the classifier of all classes on features drawn from N(s m_c,
S_c), with s = 0.9 + 0.1 (t_c + 1) / (t + 1) for a class of task t_c after task t. Its loss is the cross-entropy of
logits / (tau n); n is the mean over tasks of the norm of the task's logits. The aligned classifier answers. The next
alignment starts from the heads of stage 1 again.

What differs here (docs/methods.md): only weight matrices are trained, as in every method here that trains the whole
network, not biases and norms. The final norm is kept; theirs is initialised anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.fine_tuning import FineTuning
from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import NonNegative, Positive
from softtf.learners.aligned import AlignedLearner, AlignedSpec, Epochs, Samples
from softtf.learners.base import Batch, Learner
from softtf.learners.spans import LossClasses


@dataclass(frozen=True)
class SLCA(AlignedSpec, kind="slca"):
    """Fine-tune the whole backbone slowly, and align the classifier after each task.

    Attributes:
        backbone_rate: the backbone's learning rate as a share of the head's.
        temperature: tau, in the loss of alignment.
        tune: the weights that are trained.
        classes: the cross-entropy of stage 1 is over the task's `own` classes, as published, or over all classes
            `seen`; then every task trains the heads of earlier tasks too.
    """

    title = "SLCA"
    backbone_rate: Positive = 0.01
    temperature: Positive = 0.1
    tune: FineTuning = FineTuning()
    classes: LossClasses = "own"
    align_epochs: Epochs = field(default=5, kw_only=True)
    align_samples: Samples = field(default=256, kw_only=True)
    align_rate: NonNegative = field(default=0.01, kw_only=True)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return SLCALearner(backbone, seed, self)


class SLCALearner(AlignedLearner):
    """One set of weights that every task trains further, slowly."""

    loss_is_mean = True
    carries_on = False

    def __init__(self, backbone: Backbone, seed: int, spec: SLCA) -> None:
        heads = Heads(backbone.dim, retrained=spec.classes == "seen")
        tuned = spec.tune.build(backbone)
        for weights in tuned:
            weights.rate_factor = spec.backbone_rate
        super().__init__(backbone, tuned, seed, heads=heads, classes=spec.classes)
        self.spec = self.aligning = spec

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy (stage 1)."""
        return {"cross_entropy": self.cross_entropy_of(self.task_features(batch.inputs), batch.targets)}

    def mean_scales(self) -> Tensor:
        """Return s of each class [classes seen]."""
        return 0.9 + 0.1 * (self.column_tasks() + 1) / self.num_tasks

    def alignment_loss(self, features: Tensor, targets: Tensor, head: Mapping[str, Tensor]) -> Tensor:
        """Return the cross-entropy of logits / (tau n) (stage 2)."""
        logits = self.class_logits(features, head)
        norms = [logits[:, own].norm(dim=1) for own in self.column_slices]
        mean = torch.stack(norms).mean(0)[:, None]
        return F.cross_entropy(logits / (self.spec.temperature * mean), targets)

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the aligned classifier's logits [batch, classes seen]."""
        return self.class_logits(self.network.top(trunk, task=task), self.aligned)

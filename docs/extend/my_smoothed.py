"""A learner that trains by its own loss: a linear head per task, with label smoothing."""

from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from softtf.learners import Learner, LearnerSpec
from softtf.network import SharedPass


@dataclass(frozen=True)
class Smoothed(LearnerSpec, kind="smoothed"):
    """A setting is a field; its text here is what `--help` says.

    Attributes:
        smoothing: the share of each target that all classes of the task get alike.
    """

    title = "Smoothed head"
    smoothing: float = 0.1

    def build(self, backbone, seed):
        return SmoothedLearner(backbone, seed, self.smoothing)


class SmoothedLearner(Learner):
    def __init__(self, backbone, seed, smoothing):
        super().__init__(backbone, (), seed)  # in place of (): adaptations, such as SoftMask().build(backbone)
        self.smoothing = smoothing

    def loss(self, batch):
        trunk = SharedPass(self.network, batch.inputs, batch.query).trunk
        logits = self.network.heads(self.network.top(trunk, task=self.task), [self.task])
        return {"smoothed": cross_entropy(logits, self.own(batch.targets), label_smoothing=self.smoothing)}

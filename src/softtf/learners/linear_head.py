"""Linear head only: one linear classifier per task on frozen features. The floor every method must pass."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone
from softtf.learners.base import Batch, Learner, LearnerSpec
from softtf.shared_pass import SharedPass


@dataclass(frozen=True)
class LinearHead(LearnerSpec, kind="linear-head"):
    """Train nothing but each task's classifier."""

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return LinearHeadLearner(backbone, (), seed)


class LinearHeadLearner(Learner):
    """Cross-entropy over the current task's classes on the frozen backbone's features."""

    query_use = "features"
    answers_by_features = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy; where nothing is edited, the query is the network's feature."""
        task = self.num_tasks - 1
        features = SharedPass(self.network, batch.inputs, batch.query).query
        return {
            "cross_entropy": F.cross_entropy(
                self.network.heads(features, range(task, task + 1)), self.own(batch.targets)
            )
        }

"""Linear head only: one linear classifier per task on frozen features. A baseline that every method must beat."""

from dataclasses import dataclass

from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.learners.base import Batch, Learner
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.network import SharedPass


@dataclass(frozen=True)
class LinearHead(LearnerSpec, kind="linear-head"):
    """Train nothing but each task's classifier.

    Attributes:
        classes: the cross-entropy is over the task's `own` classes, or over all classes `seen`; then every task trains
            one classifier of all of them (`softtf.learners.spans`). No paper says which; `own` leaves old classifiers
            as they are.
    """

    title = "Linear head only"
    classes: LossClasses = "own"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return LinearHeadLearner(backbone, (), seed, classes=self.classes)


class LinearHeadLearner(Learner):
    """Cross-entropy on the frozen backbone's features."""

    loss_is_mean = True
    query_use = "features"
    answers_by_features = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy; where nothing is edited, the query is the network's feature."""
        features = SharedPass(self.network, batch.inputs, batch.query).query
        return {"cross_entropy": self.cross_entropy_of(features, batch.targets)}

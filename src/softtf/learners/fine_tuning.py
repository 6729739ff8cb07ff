"""FT, plain sequential fine-tuning of the whole network, and what other methods that train all of it share.

The paper's FT forgets because its loss is over all classes seen, while the data hold only the current task's: every
step lowers the logits of old classes (`classes="seen"`). A loss over the current task's own classes leaves old
classifiers as they are; only the features change under them (`classes="own"`). Training on a stream of one task is
joint training.
"""

from dataclasses import dataclass

from torch import Tensor

from softtf.adaptations.fine_tuning import FineTuning
from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone
from softtf.learners.base import Batch, Learner
from softtf.learners.spans import AnyClasses, LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.network import AdaptedNetwork, SharedPass

WHOLE_NETWORK = {"learning_rate": 3e-3}
"""Training settings of every method that trains the whole network: the learning rate of prompts would destroy it.

Chosen with the bundled ViT and 3 epochs. On the digits, 40 images per class, joint training gives 68.5 at 1e-3, 89.0 at
3e-3 and 88.5 at 1e-2. On two tasks of CIFAR-100, 100 images per class, with other training images for validation, FT
ends with 19.0 at 3e-4, 26.0 at 1e-3 and 29.3 at 3e-3 (after the first task 39.7, 63.7 and 66.7; with a cosine schedule
65.3). The recipes on ViT-B/16 take a tenth of it, as is customary there; that is not measured.
"""


@dataclass(frozen=True)
class FT(LearnerSpec, kind="ft"):
    """Fine-tune the whole network on one task after another.

    Attributes:
        tune: the weights that are trained.
        classes: the cross-entropy is over all classes `seen` so far, as always in plain fine-tuning, or over the
            current task's `own` (`softtf.learners.spans`).
    """

    title = "FT, whole network"
    training = WHOLE_NETWORK
    tune: FineTuning = FineTuning()
    classes: LossClasses = "seen"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return FTLearner(backbone, self.tune, seed, self.classes)


class FineTunedLearner(Learner):
    """A learner whose network every task trains further: one set of weights, one growing classifier.

    Its answer needs no task. `heads`: another classifier than one that later tasks train in full.
    """

    def __init__(
        self, backbone: Backbone, tune: FineTuning, seed: int, classes: AnyClasses, heads: Heads | None = None
    ) -> None:
        heads = heads or Heads(backbone.dim, retrained=True)
        super().__init__(backbone, tune.build(backbone), seed, heads=heads, classes=classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features [b, dim] that the classifier reads, of prepared inputs [b, ...]."""
        return network_features(self.network, inputs)

    def all_logits(self, inputs: Tensor) -> Tensor:
        """Return logits [b, classes seen] of prepared inputs [b, ...]."""
        return network_logits(self.network, inputs)


def network_features(network: AdaptedNetwork, inputs: Tensor, task: int | None = None) -> Tensor:
    """Return the features [b, dim] of prepared inputs [b, ...] in a task's network; None is the newest task."""
    return network.top(SharedPass(network, inputs).trunk, task=network.heads.num_tasks - 1 if task is None else task)


def network_logits(network: AdaptedNetwork, inputs: Tensor) -> Tensor:
    """Return the logits [b, classes seen] of a network that all tasks share."""
    logits: Tensor = network.heads(network_features(network, inputs), range(network.heads.num_tasks))
    return logits


class FTLearner(FineTunedLearner):
    """Cross-entropy, and nothing against forgetting."""

    loss_is_mean = True

    def __init__(self, backbone: Backbone, tune: FineTuning, seed: int, classes: LossClasses) -> None:
        super().__init__(backbone, tune, seed, classes, Heads(backbone.dim, retrained=classes == "seen"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        return {"cross_entropy": self.cross_entropy_of(self.features(batch.inputs), batch.targets)}

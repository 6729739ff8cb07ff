"""Progressive Prompts (Razdaibiedina et al., ICLR 2023): each task adds a prompt to those of the tasks before it.

The backbone is frozen. Task t's input is read with the prompts of tasks 0 to t; only prompt t is trained, through a
residual network that is then dropped. So tasks read what earlier prompts learned, and nothing learned before changes.
Loss: cross-entropy over the task's own classes (`classes`). The class is read as the backbone pools its inputs, from
[CLS] or the mean of all tokens, so training starts near the frozen features. (The published code for BERT reads the
first token of the task's own prompt, which has the position of a [CLS]. That token says nothing of the text at first,
and in the few epochs of our runs it never did.)

The answer needs the task, and the paper gives it: the policy is `oracle`, or Feature ID or MCG if the spec asks for
them (`feature_id`, `mcg`).
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from softtf.adaptations.prefix import Length
from softtf.adaptations.progressive import ProgressivePrompt
from softtf.backbones.base import Backbone
from softtf.config.bounds import AtLeast
from softtf.learners.base import Batch, Learner
from softtf.learners.fine_tuning import network_features
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec


@dataclass(frozen=True)
class ProgressivePrompts(LearnerSpec, kind="progressive-prompts"):
    """One prompt per task beside the embedded tokens, with those of all earlier tasks.

    Attributes:
        length: tokens of a prompt.
        mlp: units of the residual network through which a prompt is trained; 0 means no such network.
        classes: the cross-entropy is over the task's `own` classes, as in the paper, where each task has a classifier;
            or over all classes `seen`; then every task trains the classifiers of all tasks, so later tasks change
            earlier ones' answers (`softtf.learners.spans`).
    """

    title = "Progressive Prompts (task given)"
    length: Length = 10
    mlp: Annotated[int, AtLeast(0)] = 800
    classes: LossClasses = "own"

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        prompts = [ProgressivePrompt(self.length, self.mlp, backbone.dim)]
        return ProgressivePromptsLearner(backbone, prompts, seed, classes=self.classes)


class ProgressivePromptsLearner(Learner):
    """Cross-entropy of the task's own network."""

    loss_is_mean = True

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the task inferences that the spec asks for; without any, the oracle alone."""
        return self.inferences or ("oracle",)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        features = network_features(self.network, batch.inputs)
        return {"cross_entropy": self.cross_entropy_of(features, batch.targets)}

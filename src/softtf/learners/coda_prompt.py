"""CODA-Prompt (Smith et al., CVPR 2023): each sample's prefixes are sums of components, learned end to end.

"CODA-Prompt: COntinual Decomposed Attention-based Prompting for Rehearsal-Free Continual Learning"; their code is
GT-RIPL/CODA-Prompt. Each task adds components to blocks 1 to 5 (`PromptComponents`). Earlier components are frozen but
still used. Loss: cross-entropy over the task's own classes (`classes`), and mu times the components' distance from
orthogonality. Their code sets mu to 0, since its components start orthogonal to each other.

The answer needs no task: it comes from the newest network, with all components, and the classifiers of all classes.

With masks (`adapt`) each task has a network of its own: its masks, and the components of its own and earlier tasks.
Later tasks do not change it. Prompt ID uses its key, as in L2P with masks; no public code has this form.

What differs here (docs/methods.md): each task has the same number of new components (theirs: 100 divided by the number
of tasks). New components are exactly orthogonal to earlier ones, which training has turned; their projection is not
exact.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from softtf.adaptations.base import Adaptation, AdaptationSpec, Layers, NoAdaptation, parse_layers
from softtf.adaptations.prompt_components import PromptComponents
from softtf.adaptations.task_keys import TaskKeys
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import Between, NonNegative, Positive
from softtf.errors import UserError
from softtf.learners.base import Batch, Learner
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.network import SharedPass


@dataclass(frozen=True)
class CODAPrompt(LearnerSpec, kind="coda-prompt"):
    """CODA-Prompt: prefixes that each sample sums from components, with any further adaptation.

    Attributes:
        layers: layers with prefixes, in any notation of `SoftMask.layers`.
        components: new components per layer and task; the paper has 10 for 10 tasks.
        length: tokens of a component's prompt, half of them keys and half values.
        orthogonality: mu, the weight of the components' distance from orthogonality.
        adapt: a further adaptation; `SoftMask(...)` gives each task masks and a key.
        key_weight: with `adapt`, the weight of the matching loss of the task's key.
        key_scale: with `adapt`, keys start as U(-key_scale, key_scale).
        classes: the cross-entropy is over the task's `own` classes, as published, or over all classes `seen`.
    """

    title = "CODA-Prompt"
    layers: Layers = (1, 2, 3, 4, 5)
    components: Annotated[int, Between(1, 10_000)] = 10
    length: Annotated[int, Between(2, 10_000)] = 8
    orthogonality: NonNegative = 0.0
    adapt: AdaptationSpec = NoAdaptation()
    key_weight: NonNegative = 1.0
    key_scale: Positive = 1.0
    classes: LossClasses = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers)
        if self.length % 2:
            raise UserError(f"length must be even, half keys and half values, not {self.length}")

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: a layer is not in the backbone, or the further adaptation does not fit it.
        """
        blocks = parse_layers(self.layers, backbone.depth)
        components = PromptComponents(blocks, self.components, self.length, backbone.dim)
        return CODAPromptLearner(backbone, [components, *self.adapt.build(backbone)], seed, self)


class CODAPromptLearner(Learner):
    """Cross-entropy of features with each sample's own prefixes; with masks also the task key's matching loss."""

    loss_is_mean = True
    query_use = "matching"

    def __init__(self, backbone: Backbone, adaptations: list[Adaptation], seed: int, spec: CODAPrompt) -> None:
        self.spec = spec
        self.masked = any(a.task_blocks for a in adaptations[1:])
        keys = {"task_keys": TaskKeys(backbone.dim, spec.key_scale)} if self.masked else None
        super().__init__(backbone, adaptations, seed, keys, classes=spec.classes)

    @property
    def task_inferences(self) -> tuple[str, ...]:
        """Prompt ID and Gradient ID where tasks have masks; otherwise there is no task to infer."""
        return ("prompt-id", "gradient-id", "gradient-id-full") if self.masked else ()

    @property
    def answer_depends_on_task(self) -> bool:
        """Whether tasks have masks."""
        return self.masked

    @property
    def components(self) -> PromptComponents:
        """The components of all tasks."""
        components = self.network.adaptations[0]
        assert isinstance(components, PromptComponents)
        return components

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the terms that the spec adds."""
        shared = SharedPass(self.network, batch.inputs, batch.query)
        features = self.network.top(shared.trunk, task=self.task)
        losses = {"cross_entropy": self.cross_entropy_of(features, batch.targets)}
        if self.spec.orthogonality:
            losses["orthogonality"] = self.spec.orthogonality * self.components.orthogonality()
        if self.masked:
            keys = self.extra_slots["task_keys"]
            assert isinstance(keys, TaskKeys)
            losses["task_matching"] = self.spec.key_weight * keys.matching_loss(shared.query, self.task)
        return losses

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return logits [batch, classes seen] of the newest network; with masks, of task `task`'s network."""
        return super().logits(trunk, task if self.masked else self.task)

"""DualPrompt, plain or with soft masks: the method of Soft-TransFormers' Algorithms 1 and 2.

All tasks share the G-prompts. Each task has an E-prompt, a key, and whatever `adapt` adds (soft masks). Every task
trains the G-prompts further, so old tasks' answers change a little although none of their own parameters do.
`freeze_g_after_first` prevents this.

Loss: cross-entropy over the task's own classes (`classes`) + key_weight * (1 - cos(q(x), k_t)), equation 7.

With `projection` (PGP) the gradients of the G-prompt and of the newest E-prompt, which starts as a copy of the one
before, are projected. Each layer's keys p_K and values p_V have a space of their own. In the attention, softmax(q [p_K;
k]^T / sqrt(d)) [p_V; v], prompt keys meet the block's queries; q dp_K^T = 0 leaves the scores of old inputs as they
were, summed over heads (the heads share a basis, as published). Prompt values are added to the block's own values, so
p_V is projected out of the space of those: a change of p_V moves an old input's attention only outside the leading
directions of that input's values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.base import Adaptation, AdaptationSpec, Layers, NoAdaptation, parse_layers
from softtf.adaptations.prefix import ExpertPrefix, GeneralPrefix, Length
from softtf.adaptations.projection import Projection
from softtf.adaptations.task_keys import TaskKeys
from softtf.backbones.base import Backbone
from softtf.config.bounds import NonNegative, Positive
from softtf.learners.base import Batch, Learner
from softtf.learners.projected import Projected, ProjectedLearner, real_rows
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.network import SharedPass
from softtf.seeds import derive_seed

HALVES = ("keys", "values")


@dataclass(frozen=True)
class DualPrompt(LearnerSpec, kind="dual-prompt"):
    """DualPrompt (Wang et al., 2022): a shared G-prompt and an E-prompt per task, with any further adaptation.

    Layers are counted from 1, in any notation of `SoftMask.layers`.

    Attributes:
        g_layers: layers with the G-prompt.
        g_length: tokens of the G-prompt.
        e_layers: layers with the E-prompt; `10-12` in the Soft-TransFormers runs.
        e_length: tokens of the E-prompt.
        key_weight: weight of the matching loss.
        key_scale: keys start as U(-key_scale, key_scale). The paper's 1 takes thousands of steps to turn towards the
            queries, 0.1 takes hundreds.
        adapt: a further adaptation; `SoftMask(...)` makes it Soft-TransFormers.
        freeze_g_after_first: train the G-prompt in the first task only. Later tasks' backward passes then end at the
            first layer of their own, and the features of old tasks never change.
        projection: `Projection()` makes it DualPrompt + PGP.
        classes: the cross-entropy is over the task's `own` classes, as in the published code (`train_mask`), or over
            all classes `seen`; then every task trains the classifiers of all tasks (`softtf.learners.spans`).
    """

    title = "DualPrompt"
    g_layers: Layers = (1, 2)
    g_length: Length = 5
    e_layers: Layers = (3, 4, 5)
    e_length: Length = 5
    key_weight: NonNegative = 1.0
    key_scale: Positive = 1.0
    adapt: AdaptationSpec = NoAdaptation()
    freeze_g_after_first: bool = False
    projection: Projection | None = None
    classes: LossClasses = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.g_layers, what="g_layers")
        parse_layers(self.e_layers, what="e_layers")

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: a layer is not in the backbone.
        """
        generator = torch.Generator().manual_seed(derive_seed(seed, "shared"))
        general = parse_layers(self.g_layers, backbone.depth, "g_layers")
        expert = parse_layers(self.e_layers, backbone.depth, "e_layers")
        adaptations = [
            GeneralPrefix(general, self.g_length, backbone.dim, generator),
            ExpertPrefix(expert, self.e_length, backbone.dim),
            *self.adapt.build(backbone),
        ]
        return DualPromptLearner(backbone, adaptations, seed, self)


class DualPromptLearner(ProjectedLearner):
    """Cross-entropy of the task's own network, and the matching loss of its key."""

    loss_is_mean = True
    query_use = "matching"

    def __init__(self, backbone: Backbone, adaptations: list[Adaptation], seed: int, spec: DualPrompt) -> None:
        self.spec, self.projection = spec, spec.projection
        keys = {"task_keys": TaskKeys(backbone.dim, spec.key_scale)}
        super().__init__(backbone, adaptations, seed, keys, classes=spec.classes)

    @property
    def task_inferences(self) -> tuple[str, ...]:
        """Those of every learner of prompts; with masks also Gradient ID with key-matched prompts."""
        key_matched = ("gradient-id-key-prompts",) if self.network.edits_weights else ()
        return (*super().task_inferences, *key_matched)

    @property
    def keys(self) -> TaskKeys:
        """The tasks' keys."""
        keys = self.extra_slots["task_keys"]
        assert isinstance(keys, TaskKeys)
        return keys

    def open_slots(self, num_classes: int) -> None:
        """Open the slots; from the second task on, freeze the G-prompt if the spec says so."""
        super().open_slots(num_classes)
        trained = self.trained_by(self.task)
        for name, parameter in self.shared_parameters():
            parameter.requires_grad_(name in trained)

    def trained_by(self, task: int) -> list[str]:
        """Return the names of the shared parameters that task `task` trained, without a frozen G-prompt."""
        frozen = self.spec.freeze_g_after_first and task
        return [name for name in super().trained_by(task) if not frozen or name.startswith("head.")]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and matching loss (equation 7)."""
        shared = SharedPass(self.network, batch.inputs, batch.query)
        features = self.network.top(shared.trunk, task=self.task)
        return {
            "cross_entropy": self.cross_entropy_of(features, batch.targets),
            "matching": self.spec.key_weight * self.keys.matching_loss(shared.query, self.task),
        }

    def prompts(self) -> dict[str, Projected]:
        """Return the keys and values of every prefix that the current task trains."""
        return {
            _name(prefix, block, half): Projected(parameter, part)
            for prefix in self._prefixes()
            for block, parameter in prefix.trained().items()
            for part, half in enumerate(HALVES)
        }

    def met(self, shared: SharedPass) -> dict[str, Tensor]:
        """Return, for each key, its block's queries, and for each value, its block's values."""
        trained = [(prefix, block) for prefix in self._prefixes() for block in prefix.trained()]
        rows: dict[str, Tensor] = {}
        for block, tokens, edit in self.network.walk(shared.stem, self.num_tasks - 1):
            for prefix in (p for p, b in trained if b == block):
                found = self.network.backbone.queries_and_values(block, tokens, edit)
                rows |= {_name(prefix, block, h): real_rows(x, tokens.mask) for h, x in zip(HALVES, found, strict=True)}
            if len(rows) == len(HALVES) * len(trained):
                break
        return rows

    def _prefixes(self) -> list[GeneralPrefix | ExpertPrefix]:
        return [a for a in self.network.adaptations if isinstance(a, GeneralPrefix | ExpertPrefix)]


def _name(prefix: Adaptation, block: int, half: str) -> str:
    return f"{type(prefix).__name__}.layer{block + 1:02d}.{half}"

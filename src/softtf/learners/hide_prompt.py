"""HiDe-Prompt (Wang et al., NeurIPS 2023), and NoRGa (Le et al., NeurIPS 2024), which gates its prefixes.

"Hierarchical Decomposition of Prompt-Based Continual Learning: Rethinking Obscured Sub-optimality"; their code is
thu-ml/HiDe-Prompt. Three parts are trained separately: within-task prediction, by one prefix per task in blocks 1 to 5
(`BlendedPrefix`); task-identity inference, by a classifier on frozen features (`task_identity`); and task-adaptive
prediction, by aligning the heads together on class Gaussians (`aligned`). Loss of the prefix: cross-entropy over the
task's own classes + reg * R (`contrasted`).

"Mixture of Experts Meets Prompt-Based Continual Learning" (NoRGa); their code is Minhchuyentoancbn/MoE_PromptCL. In the
attention, s + alpha act(tau s) replaces the score s of a prefix's key (`PrefixGate`).

Each sample is answered alone. The classifier on frozen features infers the task, as that of its best class; the answer
is the best class of the aligned head in that task's network.

What differs here (docs/methods.md): a sample's keys and values are those of its own prefix. The published code lays out
a batch's prefixes in such a way that a sample gets those of two other samples of the batch, in tests too. The
classifier on frozen features is trained on unaugmented images. Classes have full covariances, as in NoRGa's runs;
HiDe-Prompt's runs have ten centroids per class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from softtf.adaptations.base import Adaptation, AdaptationSpec, Layers, NoAdaptation, parse_layers
from softtf.adaptations.blended_prefix import Activation, BlendedPrefix, PrefixGate
from softtf.adaptations.prefix import Length
from softtf.backbones.base import Backbone, Tokens
from softtf.config.bounds import Between, NonNegative, Positive
from softtf.files.tensor_form import Forms
from softtf.learners.aligned import Epochs, Samples
from softtf.learners.base import Learner
from softtf.learners.contrasted import ContrastedLearner, ContrastedSpec
from softtf.learners.task_data import TaskData
from softtf.learners.task_identity import tii_aligned, tii_forms, tii_logits, tii_started, tii_trained
from softtf.seeds import derive_seed
from softtf.statistics.class_gaussians import add_gaussians, gaussian_forms

TII, GAUSSIANS = "tii.", "tii_gaussians."


@dataclass(frozen=True)
class HiDePrompt(ContrastedSpec, kind="hide-prompt"):
    """One prefix per task, a classifier on frozen features that infers the task, and an aligned head.

    Attributes:
        layers: layers with prefixes, in any notation of `SoftMask.layers`.
        length: tokens of a prefix; the paper has 5 on CIFAR-100 and 20 on ImageNet-R.
        blend: the share of the earlier tasks' mean prefix in a task's prefix.
        tii_epochs: epochs per task of the classifier on frozen features.
        tii_rate: Adam's learning rate for that classifier, in batches of 128.
        adapt: a further adaptation; `SoftMask(...)` gives each task masks.
    """

    title = "HiDe-Prompt"
    layers: Layers = (1, 2, 3, 4, 5)
    length: Length = 5
    blend: Annotated[float, Between(0, 1)] = 0.01
    tii_epochs: Epochs = 20
    tii_rate: Positive = 2.5e-4
    adapt: AdaptationSpec = NoAdaptation()
    align_samples: Samples = field(default=120, kw_only=True)
    align_decay: NonNegative = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers)

    def gates(self, blocks: tuple[int, ...]) -> list[Adaptation]:
        """Return the adaptations that gate the prefixes: none."""
        return []

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: a layer is not in the backbone, or the further adaptation does not fit it.
        """
        blocks = parse_layers(self.layers, backbone.depth)
        prefix = BlendedPrefix(blocks, self.length, backbone.dim)
        prefix.share = self.blend
        return HiDePromptLearner(backbone, [prefix, *self.gates(blocks), *self.adapt.build(backbone)], seed, self)


@dataclass(frozen=True)
class NoRGa(HiDePrompt, kind="norga"):
    """HiDe-Prompt with a gate on the scores of its prefixes.

    Attributes:
        activation: act, the function in the gate.
    """

    title = "NoRGa"
    activation: Activation = "sigmoid"
    align_epochs: Epochs = field(default=80, kw_only=True)
    align_rate: NonNegative = field(default=0.05, kw_only=True)

    def gates(self, blocks: tuple[int, ...]) -> list[Adaptation]:
        """Return the gate."""
        return [PrefixGate(blocks, self.activation)]


class HiDePromptLearner(ContrastedLearner):
    """One network per task and one aligned head; remembers the classifier on frozen features and its Gaussians."""

    def __init__(self, backbone: Backbone, adaptations: list[Adaptation], seed: int, spec: HiDePrompt) -> None:
        self.spec = spec
        super().__init__(backbone, adaptations, seed, spec)

    @property
    def task_inferences(self) -> tuple[str, ...]:
        """The classifier on frozen features."""
        return ("tii",)

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the classifier on frozen features and of its Gaussians, and those of alignment."""
        dim = self.network.backbone.dim
        parts = {TII: tii_forms(len(labels), dim), GAUSSIANS: gaussian_forms(len(labels), dim)}
        own = {prefix + name: form for prefix, forms in parts.items() for name, form in forms.items()}
        return {**super().memory_forms(labels), **own}

    def end_task(self, data: TaskData) -> None:
        """Settle the prefix, close the task, align, and train the classifier on frozen features.

        Raises:
            TrainingError: a value is not finite.
        """
        prefix = self.network.adaptations[0]
        assert isinstance(prefix, BlendedPrefix)
        prefix.settle()
        super().end_task(data)
        z, generator = data.features.values, torch.Generator().manual_seed(derive_seed(self.seed, "tii", self.task))
        gaussians = add_gaussians(self._part(GAUSSIANS), z, self.own(data.columns))
        model = tii_started(self._part(TII), len(data.labels), z.shape[1], generator)
        settings = self.num_old, self.spec.tii_epochs, self.spec.tii_rate
        model = tii_trained(model, z, data.columns, *settings, generator)
        if self.task:
            model = tii_aligned(model, gaussians, self.spec, generator)
        found = {TII: model, GAUSSIANS: gaussians}
        self.memory = self.memory | {part + name: v for part, values in found.items() for name, v in values.items()}

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the aligned head's logits [batch, classes seen] in task `task`'s network."""
        return self.class_logits(self.network.top(trunk, task=task), self.aligned)

    def identity_logits(self, query: Tensor) -> Tensor:
        """Return the logits [batch, classes seen] of the classifier on frozen features q(x) [batch, dim]."""
        return tii_logits(query, self._part(TII))

    def _part(self, prefix: str) -> Mapping[str, Tensor]:
        return {name.removeprefix(prefix): v for name, v in self.memory.items() if name.startswith(prefix)}

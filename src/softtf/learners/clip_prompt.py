"""CLIP-Prompt, plain or with PGP and soft masks: the learner of the paper's Table 5, in our form and as published.

All tasks share one image prompt, placed after the tokens of the image tower. Each class, or all classes of a task
together, has a text prompt, placed before the words of a class's text in the text tower and trained only with its own
task. Logits are scale * cos(image, text). With `adapt` (soft masks in the image tower) each task has an image tower of
its own, and a key, by which Prompt ID infers the task; Gradient ID uses the superposed towers. Text features do not
depend on the task that is asked: a class's text is always computed with the parameters of the class's own task.

Loss: cross-entropy over the task's own classes (`classes`) and, where tasks differ, key_weight * (1 - cos(q(x), k_t)).

With `projection` (PGP) the gradients of the image prompt are projected out of the space of earlier tasks' embedded
tokens and prompt.

`CLIPPromptPublished` follows the code of CLIP-PGP (Qiao et al., 2024): 16 context tokens per task and no template, the
prompt before the image tower's first norm, its rates and weight decay, no clipping. It differs from that code in these
points: 5 image tokens, as the Soft-TransFormers paper says, not 10; a prompt ~ N(0, 0.02), not a uniform one of about
that deviation; images in CLIP's own normalisation, not CIFAR's; a cosine schedule that falls at each step, not at each
epoch; PGP's basis as in `softtf.learners.projected`. The paper's text prompts, one per class, are in `CLIPPrompt`.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from softtf.adaptations.appended_prompt import AppendedPrompt
from softtf.adaptations.base import AdaptationSpec, NoAdaptation
from softtf.adaptations.prefix import Length
from softtf.adaptations.projection import Projection
from softtf.adaptations.slots import TaskSlots
from softtf.adaptations.task_keys import TaskKeys
from softtf.backbones.base import Backbone
from softtf.backbones.clip import ClipImage
from softtf.config.bounds import NonNegative, Positive
from softtf.learners.base import Batch, Learner
from softtf.learners.projected import Projected, ProjectedLearner, real_rows
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.learners.text_heads import ClassTexts, TextHeads, check_clip, check_template, text_ids
from softtf.network import SharedPass
from softtf.seeds import derive_seed

CLIP_TRAINING: Mapping[str, Any] = {
    "epochs": 5,
    "batch_size": 32,
    "learning_rate": 0.016,
    "optimizer": "sgd",
    "schedule": "cosine",
}
"""The paper's settings for CLIP (METHOD section 5). It gives no rate; this one is CoOp's 0.002 at batch 32."""

CLIP_PGP_TRAINING: Mapping[str, Any] = {
    **CLIP_TRAINING,
    "learning_rate": 0.08,
    "weight_decay": 2e-4,
    "first_task_learning_rate": 0.008,
    "first_task_weight_decay": 5e-4,
    "clip_norm": None,
}
"""The settings of CLIP-PGP's code: at batch 32 a rate of 0.001 in the first task, and 0.01 after it."""

TextPrompts = Literal["class", "task"]


@dataclass(frozen=True)
class CLIPPrompt(LearnerSpec, kind="clip-prompt"):
    """CLIP-Prompt: prompts in both towers of a CLIP, with any further adaptation of either.

    Attributes:
        length: tokens of the image prompt.
        text_length: tokens of each text prompt.
        template: the text of a class; its name replaces {}.
        key_weight: weight of the matching loss, where tasks differ in the image tower.
        key_scale: keys start as U(-key_scale, key_scale); SGD can only turn short ones in time.
        adapt: a further adaptation of the image tower; `SoftMask(...)` makes it CLIP-Prompt-Soft-TF.
        adapt_text: an adaptation of the text tower, used while its task trains and for the text features that are kept.
        projection: `Projection(0.9)` makes it CLIP-PGP.
        text_prompts: one text prompt for each `class`, or one for all classes of a `task`.
        before_norm: put the image prompt before the image tower's first norm.
        classes: compare images with the texts of their task's `own` classes, as a text prompt is trained only with its
            own task (METHOD section 3), or with those of all classes `seen`, of which the earlier ones stay fixed.
    """

    title = "CLIP-Prompt"
    training: ClassVar[Mapping[str, Any]] = CLIP_TRAINING

    length: Length = 5
    text_length: Length = 4
    template: str = "a photo of a {}."
    key_weight: NonNegative = 1.0
    key_scale: Positive = 0.1
    adapt: AdaptationSpec = NoAdaptation()
    adapt_text: AdaptationSpec = NoAdaptation()
    projection: Projection | None = None
    text_prompts: TextPrompts = "class"
    before_norm: bool = False
    classes: LossClasses = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: the backbone is no CLIP, or an adaptation does not fit it.
        """
        return CLIPPromptLearner(check_clip(backbone, "CLIP-Prompt"), seed, self)

    def check_labels(self, labels: Sequence[Hashable], backbone: Backbone) -> None:
        """Refuse labels whose text is too long or cannot be read; raises UserError."""
        text_ids(check_clip(backbone, "CLIP-Prompt").text, self.template, labels, self.text_length)


@dataclass(frozen=True)
class CLIPPromptPublished(CLIPPrompt, kind="clip-prompt-published"):
    """CLIP-Prompt with the settings of CLIP-PGP's code; each can be changed like those of `CLIPPrompt`."""

    title = "CLIP-Prompt as published"
    training: ClassVar[Mapping[str, Any]] = CLIP_PGP_TRAINING

    text_length: Length = 16
    template: str = "{}."
    text_prompts: TextPrompts = "task"
    before_norm: bool = True


class CLIPPromptLearner(ProjectedLearner):
    """Cross-entropy of images with the texts of their task; where tasks differ, also the matching loss of a key."""

    loss_is_mean = True

    def __init__(self, clip: ClipImage, seed: int, spec: CLIPPrompt) -> None:
        self.spec, self.projection = spec, spec.projection
        generator = torch.Generator().manual_seed(derive_seed(seed, "shared"))
        norm = clip.normed if spec.before_norm else None
        image = [AppendedPrompt(spec.length, clip.dim, generator, norm), *spec.adapt.build(clip)]
        texts = ClassTexts(clip.text, spec.template, spec.text_length, spec.adapt_text)
        extra: dict[str, TaskSlots] = {f"text_{type(a).__name__}{i + 1}": a for i, a in enumerate(texts.adaptations)}
        if any(a.task_blocks for a in image):
            extra["task_keys"] = TaskKeys(clip.dim, spec.key_scale)
            self.query_use = "matching"
        heads = TextHeads(clip, spec.text_length, spec.text_prompts == "task")
        super().__init__(clip, image, seed, extra, heads, spec.classes)
        self.texts = texts

    @property
    def heads(self) -> TextHeads:
        """The classes' texts."""
        heads = self.network.heads
        assert isinstance(heads, TextHeads)
        return heads

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and build the texts of its classes.

        Raises:
            UserError: a class's text is too long or cannot be read.
        """
        self.texts.name(data.labels)
        super().begin_task(data)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and, where tasks differ, the matching loss."""
        shared = SharedPass(self.network, batch.inputs, batch.query)
        logits = self._loss_logits(self.network.top(shared.trunk, task=self.task))
        losses = {"cross_entropy": self.cross_entropy(logits, batch.targets)}
        if self.network.top_depends_on_task:
            keys = self.extra_slots["task_keys"]
            assert isinstance(keys, TaskKeys)
            losses["matching"] = self.spec.key_weight * keys.matching_loss(shared.query, self.task)
        return losses

    def _loss_logits(self, features: Tensor) -> Tensor:
        """Return logits [b, columns of `span`] of features [b, dim]; earlier tasks' text features are the kept ones."""
        new, earlier = self.heads.scores(features, self._text_features()), self.span[:-1]
        return torch.cat([self.heads(features, earlier), new], 1) if earlier else new

    @torch.no_grad()
    def end_task(self, data: TaskData) -> None:
        """Compute the classes' text features once and keep them; close the task, and release its texts."""
        self.heads.settle(self._text_features())
        super().end_task(data)
        self.texts.ids = self.texts.ids[:0]

    def _text_features(self) -> Tensor:
        """Return the text features [classes, shared dim] of the task in training."""
        return self.texts.features(self.heads.slot(self.task)["prompts"], self.task)

    def prompts(self) -> dict[str, Projected]:
        """Return the image prompt."""
        prompt = self.network.adaptations[0]
        assert isinstance(prompt, AppendedPrompt)
        return {"image": Projected(prompt.prompt)}

    def met(self, shared: SharedPass) -> dict[str, Tensor]:
        """Return the tokens at the image prompt's place: before block 1, or before the first norm."""
        clip = self.network.backbone
        assert isinstance(clip, ClipImage)
        tokens = clip.unnormed(shared.inputs) if self.spec.before_norm else shared.stem.x
        return {"image": real_rows(tokens, shared.stem.mask)}

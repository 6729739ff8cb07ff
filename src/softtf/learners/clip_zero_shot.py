"""Zero-shot CLIP: the class whose text is nearest to the image. Nothing is trained; a baseline for methods on CLIP."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.clip import ClipImage
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner, ClosedFormSpec
from softtf.learners.task_data import TaskData
from softtf.learners.text_heads import ClassTexts, TextHeads, check_clip, check_template, refuse_twins


@dataclass(frozen=True)
class CLIPZeroShot(ClosedFormSpec, kind="clip-zero-shot"):
    """The class whose text is nearest to the image: logits are scale * cos(image, text), with both towers untouched.

    Attributes:
        template: the text of a class; its name replaces {}.
    """

    title = "CLIP, zero-shot"

    template: str = "a photo of a {}."

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: the backbone is no CLIP.
        """
        return CLIPZeroShotLearner(check_clip(backbone, "zero-shot CLIP"), seed, self)

    def check_labels(self, labels: Sequence[Hashable], backbone: Backbone) -> None:
        """Refuse labels whose text is too long, cannot be read, or equals another's; raises UserError."""
        refuse_twins(check_clip(backbone, "zero-shot CLIP").text, self.template, labels)


class CLIPZeroShotLearner(ClosedFormLearner):
    """A task's slot holds its classes' text features; training images are only counted."""

    def __init__(self, clip: ClipImage, seed: int, spec: CLIPZeroShot) -> None:
        super().__init__(clip, (), seed, heads=TextHeads(clip, 0))
        self.texts = ClassTexts(clip.text, spec.template, 0)

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and build the texts of its classes.

        Raises:
            UserError: a class's text is too long, cannot be read, or equals that of another known class.
        """
        refuse_twins(self.texts.tower, self.texts.template, data.known)
        self.texts.name(data.labels)
        super().begin_task(data)

    @torch.no_grad()
    def fit(self, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, float]:
        """Keep the classes' text features; return the share of training examples nearest to another class's text."""
        heads, texts = self.network.heads, self.texts.features()
        assert isinstance(heads, TextHeads)
        heads.slot(self.task)["features"].copy_(texts)
        nearest = heads.scores(features.to(texts), texts).argmax(1).cpu()
        return {"training_error": float((nearest != self.own(columns)).double().mean())}

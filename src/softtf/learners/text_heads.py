"""Classes known by their names: a head whose weights are text features."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.base import AdaptationSpec
from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone
from softtf.backbones.clip import ClipImage, ClipText
from softtf.config.names import CLIP_VIT_B
from softtf.errors import UserError
from softtf.network import AdaptedNetwork


def check_template(template: str) -> None:
    """Raise UserError unless the template has exactly one place for a name."""
    parts = template.split("{}") if isinstance(template, str) else []
    if len(parts) != 2 or {"{", "}"} & set("".join(parts)):
        raise UserError(f"template {template!r} must hold {{}} once, where the class's name goes")


def check_clip(backbone: Backbone, what: str) -> ClipImage:
    """Return the backbone if it is a CLIP.

    Raises:
        UserError: it has no text tower.
    """
    if not isinstance(backbone, ClipImage):
        raise UserError(
            f"{what} compares images with texts, and backbone {backbone.name!r} has no text tower; give a CLIP, such as"
            f" --backbone.name {CLIP_VIT_B} or a folder with one"
        )
    return backbone


def text_ids(tower: ClipText, template: str, labels: Sequence[Hashable], prompts: int = 0) -> Tensor:
    """Return the token ids [classes, tokens] of the classes' texts, with room left for `prompts` prompt tokens.

    Raises:
        UserError: a text is too long for the model.
    """
    names = [str(label).replace("_", " ") for label in labels]
    return tower.ids([template.replace("{}", name) for name in names], prompts)


def refuse_twins(tower: ClipText, template: str, labels: Sequence[Hashable]) -> None:
    """Raise UserError if two classes have the same text, so that nothing can tell them apart, or a text is too long."""
    texts = [tuple(row) for row in text_ids(tower, template, labels).tolist()]
    for i, text in enumerate(texts):
        if (first := texts.index(text)) < i and labels[first] != labels[i]:
            raise UserError(
                f"classes {labels[first]!r} and {labels[i]!r} have the same text for this model; rename one"
            )


class TextHeads(Heads):
    """One text feature per class: logits are exp(logit_scale) cos(P f(x), text); P is the image tower's projection.

    While a task trains, its slot holds the prompts [classes, length, dim] of its classes' texts, or one prompt [1,
    length, dim] for all of them (`shared`). Once it is finished, the slot holds their text features [classes, shared
    dim] at length 1, which never change: an answer needs neither the names nor the text tower.
    """

    projection: Tensor
    scale: Tensor

    def __init__(self, clip: ClipImage, length: int, shared: bool = False) -> None:
        super().__init__(clip.dim)
        self.length, self.text_dim, self.shared = length, clip.text.dim, shared
        self.begun = 0  # classes of the task in training
        self.register_buffer("projection", clip.projection.weight.detach(), persistent=False)
        self.register_buffer("scale", clip.logit_scale.detach().exp(), persistent=False)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return prompts ~ N(0, 0.02); if their length is 0, text features that are set later."""
        if not self.length:
            return {"features": torch.zeros(num_classes, len(self.projection))}
        self.begun = num_classes
        prompts = 1 if self.shared else num_classes
        return {"prompts": torch.randn(prompts, self.length, self.text_dim, generator=generator) * 0.02}

    def forms(self, num_classes: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the form of the text features: prompts are never saved."""
        finished = {"features": torch.empty(num_classes, len(self.projection), device="meta")}
        return finished, finished

    def num_classes(self, task: int) -> int:
        """Return how many classes task `task` has."""
        slot = self.slot(task)
        return len(slot["features"]) if "features" in slot else self.begun

    def num_parameters(self, task: int) -> int:
        """Return the number of parameters that task `task` trained: those of its prompts."""
        return (1 if self.shared else self.num_classes(task)) * self.length * self.text_dim

    def settle(self, texts: Tensor) -> None:
        """Replace the newest task's prompts by its text features [classes, shared dim]."""
        self.close(-1, {"features": texts.detach()})

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, dim] and texts [classes, shared dim] at length 1."""
        images = F.normalize(F.linear(features, self.projection.to(features.dtype)), dim=-1)
        return self.scale.to(images.dtype) * F.linear(images, texts.to(images.dtype))

    def forward(self, features: Tensor, tasks: range) -> Tensor:
        """Return logits [batch, classes of `tasks`] of features [batch, dim]; the tasks are finished."""
        return self.scores(features, torch.cat([self.value(t, "features") for t in tasks]))


class ClassTexts(nn.Module):
    """The texts of the current task, and the text tower with its adaptations.

    Args:
        tower: the text tower.
        template: the text of a class; the class's name replaces {}.
        prompts: prompt tokens per text.
        adapt: per-task parameters in the tower.
    """

    ids: Tensor

    def __init__(self, tower: ClipText, template: str, prompts: int, adapt: AdaptationSpec | None = None) -> None:
        super().__init__()
        self.tower, self.template, self.prompts = tower, template, prompts
        self.adaptations = adapt.build(tower) if adapt else []
        self.network = AdaptedNetwork(tower, self.adaptations)
        self.register_buffer("ids", torch.empty(0, 0, dtype=torch.int64), persistent=False)

    def name(self, labels: Sequence[Hashable]) -> None:
        """Build the texts of classes; underscores in names become spaces.

        Raises:
            UserError: a text is too long for the model.
        """
        self.ids = text_ids(self.tower, self.template, labels, self.prompts).to(self.ids.device)

    def features(self, prompts: Tensor | None = None, task: int = 0) -> Tensor:
        """Return the classes' text features [classes, shared dim] at length 1, with task `task`'s text tower.

        prompts: [classes or 1, length, dim of the text tower], put before the words of each text.
        """
        network = self.network
        each = None if prompts is None else prompts.expand(len(self.ids), -1, -1)
        tokens = self.tower.run(self.tower.embed(self.ids, each), 0, network.first_edited_block)
        return F.normalize(self.tower.project(network.top(network.trunk(tokens), task=task)), dim=-1)

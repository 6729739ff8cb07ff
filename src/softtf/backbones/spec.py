"""Which backbone is meant: the name and the settings that users write and recipes store."""

import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from softtf.config.bounds import AtLeast, Between
from softtf.config.tree import Settings
from softtf.errors import UserError

BUNDLED = "vit_tiny_patch8_64"
MINILM = "minilm-l6-v2"
RANDOM = "random:"
LOCAL = "local-dir:"
PLACES = ("hf-hub:", "hf_hub:", LOCAL)  # where a model is, as timm writes it
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # of timm, or of the Hub with its owner
REVISION = re.compile(r"\w[\w./-]{0,199}", re.ASCII)

Pooling = Literal["auto", "cls", "pooler", "mean"]


@dataclass(frozen=True)
class BackboneSpec(Settings):
    """Which frozen backbone to use.

    Attributes:
        name: `vit_tiny_patch8_64` (bundled, works offline), a timm name such as `vit_base_patch16_224.orig_in21k`
            (downloaded from the Hub; `timm/` and `hf-hub:` may stand before it); for texts `minilm-l6-v2` (offline,
            from softtf[text]), `bert-base-uncased` or another encoder of BERT's family on the Hub; `owner/name` of the
            Hub or a local folder (config.json, model.safetensors) with one of these or a ViT of timm; or `random:` and
            a name of timm, `bert-base-uncased` or a folder for random weights.
        weights: a local safetensors file in timm's naming instead of a download.
        image_size: input size in pixels, if not the model's own.
        normalise: the backbone's own mean and deviation, or `unit`: inputs in [0, 1] as they are (the paper's).
        max_tokens: longer texts are cut to so many tokens.
        pooling: what of a text's tokens is its feature: `cls`, the first token; `pooler`, that one through the model's
            pooling layer; `mean` of all; `auto`: mean where the model's folder says that it was trained so, else cls.
        revision: of a model on the Hub, the commit, branch or tag; a learner keeps the commit that it was learned on.
    """

    name: str = BUNDLED
    weights: Path | None = None
    image_size: Annotated[int, Between(1, 4096)] | None = None
    normalise: Literal["backbone", "unit"] = "backbone"
    max_tokens: Annotated[int, AtLeast(3)] = 128  # a word between the two marks
    pooling: Pooling = "auto"
    revision: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.revision is not None and (not REVISION.fullmatch(self.revision) or ".." in self.revision):
            raise UserError(f"revision must be a commit, branch or tag of the Hub, not {self.revision!r}")

    def located(self) -> "BackboneSpec":
        """Return a spec that stands for the same files in any working directory: with the full paths of those it names.

        What the package or the Hub has is left as it is.
        """
        name = model_name(self)
        place = self.name.removesuffix(name)
        path = os.path.abspath(name) if name not in (BUNDLED, MINILM) and Path(name).is_dir() else name
        return replace(self, name=place + path, weights=self.weights and self.weights.absolute())

    @property
    def paths(self) -> list[str]:
        """The files and folders of this machine that it names, such as its weights; what the Hub has is none.

        Where a name may be either, a folder of that name in the working directory makes it a path.
        """
        name = model_name(self)
        local = name not in (BUNDLED, MINILM) and (
            LOCAL in self.name or not NAME.fullmatch(name) or Path(name).exists()
        )
        return [name] * local + ([str(self.weights)] if self.weights else [])

    def weights_title(self, sha256: str) -> str:
        """Return how tables name the weights: by name, the file if they came from one, and twelve digits of their hash.

        A folder's place on this machine is left out.
        """
        path = model_name(self)
        name = self.name.removesuffix(path) + Path(path).name if Path(path).is_dir() else self.name
        source = f"{name} from {self.weights.name}" if self.weights else name
        return f"{source} (SHA-256 {sha256[:12]})"

    def refuse(self, *names: str) -> None:
        """Refuse settings that this backbone would ignore.

        Raises:
            UserError: one of the settings `names` is not at its default.
        """
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                raise UserError(f"{name} does nothing for backbone {self.name!r}; leave it out")


def random_name(spec: BackboneSpec) -> bool:
    """Say whether this backbone's weights are random."""
    return spec.name.startswith(RANDOM)


def model_name(spec: BackboneSpec) -> str:
    """Return the name without what stands before it: that the weights are random, that it is on the Hub or local."""
    name = spec.name.removeprefix(RANDOM)
    for place in PLACES:
        name = name.removeprefix(place)
    return name

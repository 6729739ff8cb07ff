"""The choice of a backbone: the name and the settings that users write and recipes save."""

import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from softtf.config.bounds import AtLeast, Between
from softtf.config.names import BUNDLED, MINILM
from softtf.config.tree import Settings
from softtf.errors import UserError

RANDOM = "random:"
LOCAL = "local-dir:"
PLACES = ("hf-hub:", "hf_hub:", LOCAL)  # timm's prefixes for the place of a model
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # a name of timm, or owner/name on the Hub
REVISION = re.compile(r"\w[\w./-]{0,199}", re.ASCII)
LONGEST = 4096  # characters of a name, which may be a path

Pooling = Literal["auto", "cls", "pooler", "mean"]


@dataclass(frozen=True)
class BackboneSpec(Settings):
    """Which frozen backbone to use.

    Attributes:
        name: for images `vit_tiny_patch8_64` (bundled, works offline) or a timm name such as
            `vit_base_patch16_224.orig_in21k` (downloaded from the Hub; `timm/` or `hf-hub:` may come first). For texts
            `minilm-l6-v2` (offline, from softtf[text]), `bert-base-uncased` or another encoder of BERT's family on the
            Hub. Also `owner/name` on the Hub or a local folder (config.json, model.safetensors) with such a model. For
            random weights `random:` with a timm name, `bert-base-uncased` or a folder.
        weights: a local safetensors file with timm's names, instead of a download.
        image_size: the input size in pixels; None is the model's own.
        normalise: `backbone` for the backbone's mean and standard deviation, `unit` for inputs in [0, 1] (the paper's).
        max_tokens: the most tokens of a text; longer texts are cut.
        pooling: how a text's tokens become its feature: `cls`, the first token; `pooler`, the first token through the
            model's pooling layer; `mean`, the mean of all; `auto`, `mean` if the model's folder says it was trained
            that way, else `cls`.
        revision: the commit, branch or tag of a model on the Hub; a learner saves the commit that it was trained with.
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
        if len(self.name) > LONGEST:
            raise UserError(f"a backbone's name has at most {LONGEST:,} characters, not {len(self.name):,}")
        if self.revision is not None and (not REVISION.fullmatch(self.revision) or ".." in self.revision):
            raise UserError(f"revision must be a commit, branch or tag of the Hub, not {self.revision!r}")

    def located(self) -> "BackboneSpec":
        """Return the spec with full paths, which means the same files in any working directory.

        Names of bundled models and of models on the Hub stay as they are.
        """
        name = model_name(self)
        place = self.name.removesuffix(name)
        path = os.path.abspath(name) if name not in (BUNDLED, MINILM) and os.path.isdir(name) else name
        return replace(self, name=place + path, weights=self.weights and self.weights.absolute())

    @property
    def paths(self) -> list[str]:
        """The local files and folders that the spec names, such as its weights.

        A name that could also be one on the Hub is a path if the working directory has a folder of that name.
        """
        name = model_name(self)
        local = name not in (BUNDLED, MINILM) and (
            LOCAL in self.name or not NAME.fullmatch(name) or os.path.exists(name)
        )
        return [name] * local + ([str(self.weights)] if self.weights else [])

    def weights_title(self, sha256: str) -> str:
        """Return the weights' title in tables: the name, the file if any, and twelve digits of their hash.

        The path to a local folder is left out.
        """
        path = model_name(self)
        name = self.name.removesuffix(path) + Path(path).name if os.path.isdir(path) else self.name
        source = f"{name} from {self.weights.name}" if self.weights else name
        return f"{source} (SHA-256 {sha256[:12]})"

    def refuse(self, *names: str) -> None:
        """Refuse settings that this backbone would ignore.

        Raises:
            UserError: one of the settings `names` has another value than its default.
        """
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                raise UserError(f"{name} does nothing for backbone {self.name!r}; leave it out")


def random_name(spec: BackboneSpec) -> bool:
    """Return whether this backbone's weights are random."""
    return spec.name.startswith(RANDOM)


def model_name(spec: BackboneSpec) -> str:
    """Return the name without its prefixes for random weights, the Hub and local folders."""
    name = spec.name.removeprefix(RANDOM)
    for place in PLACES:
        name = name.removeprefix(place)
    return name

"""Find a backbone by name: the bundled ViT, any plain ViT of timm, models of transformers, or random weights."""

from difflib import get_close_matches
from pathlib import Path

import torch

from softtf.backbones.base import Backbone
from softtf.backbones.from_timm import architecture_of, load_vit, vit_names, works
from softtf.backbones.from_transformers import CLIP_MODELS, TEXT_MODELS, load_from_transformers
from softtf.backbones.spec import BUNDLED, MINILM, BackboneSpec, model_name, random_name
from softtf.errors import UserError, unknown
from softtf.torch_state import with_own_settings

__all__ = ["BUNDLED", "MINILM", "BackboneSpec", "backbone_names", "load_backbone", "random_name", "spec_of"]

NEAR = 8


def backbone_names() -> list[str]:
    """Return the bundled backbone, text encoders, CLIPs, and those models of timm that work and have weights.

    It takes some seconds: of each architecture one block is built, without memory for weights.
    """
    return [BUNDLED, *TEXT_MODELS, *CLIP_MODELS, *(name for name in vit_names() if works(architecture_of(name)))]


@with_own_settings
def load_backbone(spec: BackboneSpec, device: torch.device | str = "cpu") -> Backbone:
    """Build a frozen backbone.

    A folder and a name that timm does not have are for transformers; where those do not sound like one of its models,
    the name is unknown.

    Raises:
        UserError: unknown name, a file that is missing or does not fit, a Hub that cannot be reached, an image
            size that the patch size does not divide, a model of another form, a setting that it does not have.
    """
    backbone = _load_any(spec).to(device)
    backbone.spec = spec.located()
    return backbone


def spec_of(backbone: str | BackboneSpec | Backbone) -> BackboneSpec:
    """Return what a backbone is found by again; of one that `load_backbone` did not load, its name alone."""
    if isinstance(backbone, Backbone):
        return backbone.spec or BackboneSpec(backbone.name)
    return backbone if isinstance(backbone, BackboneSpec) else BackboneSpec(backbone)


def _load_any(spec: BackboneSpec) -> Backbone:
    name = model_name(spec)
    folder = Path(name).is_dir()
    if spec.name == BUNDLED or (architecture_of(name) and not folder):
        return load_vit(spec)
    if name == BUNDLED:
        raise UserError(f"backbone {spec.name!r} comes with the package on its own weights; write {BUNDLED!r} alone")
    if name in TEXT_MODELS or folder or ("/" in name and not name.startswith("timm/")):
        return load_from_transformers(spec)
    known = vit_names() if "." in name else sorted({architecture_of(vit) for vit in vit_names()})
    near = get_close_matches(name.removeprefix("timm/").lower(), known, NEAR, 0.5)
    raise unknown("backbone", name, [*TEXT_MODELS, BUNDLED, *(n for n in near if works(architecture_of(n)))])

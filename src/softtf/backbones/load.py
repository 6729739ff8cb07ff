"""Backbones by name: the bundled ViT, any plain ViT of timm, models of transformers, or random weights."""

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import torch

from softtf.backbones.base import Backbone
from softtf.backbones.from_timm import architecture_of, is_supported, load_vit, vit_names
from softtf.backbones.from_transformers import CLIP_MODELS, TEXT_MODELS, load_from_transformers
from softtf.backbones.spec import RANDOM, BackboneSpec, model_name, random_name
from softtf.config.arguments import checked
from softtf.config.names import BUNDLED, MINILM
from softtf.devices.device import find_device
from softtf.devices.memory import needs_memory
from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError, unknown
from softtf.registry import Registry

__all__ = [
    "BackboneSpec",
    "backbone",
    "backbone_names",
    "load_backbone",
    "load_named",
    "random_name",
    "spec_of",
]

NEAR = 8


Loading = Callable[[BackboneSpec], Backbone]
IMPORTED: Registry[Loading] = Registry(
    "backbone", taken=lambda name: name in (BUNDLED, *TEXT_MODELS, *CLIP_MODELS) or bool(architecture_of(name))
)


def backbone(name: str) -> Callable[[Loading], Loading]:
    """Register the function below, which builds the backbone `name` from its spec.

    Raises:
        UserError: there is a backbone of this name.
    """

    def register(load: Loading) -> Loading:
        IMPORTED.add(name, load, load)
        return load

    return register


def backbone_names() -> list[str]:
    """Return imported backbones, the bundled one, text encoders, CLIPs, and timm models that work and have weights.

    This takes a few seconds: it builds one block of each architecture, without memory for its weights.
    """
    return [
        *IMPORTED,
        BUNDLED,
        *TEXT_MODELS,
        *CLIP_MODELS,
        *(name for name in vit_names() if is_supported(architecture_of(name))),
    ]


@needs_memory("load the backbone")
@with_own_settings
@checked
def load_backbone(spec: str | BackboneSpec, device: torch.device | str = "cpu") -> Backbone:
    """Build a frozen backbone.

    timm builds the names that it knows; transformers builds folders, its own models and `owner/name`.

    Args:
        spec: the choice, or its name alone.
        device: where it is to compute.

    Raises:
        UserError: the name is unknown, a file is missing or does not fit, the Hub cannot be reached, the patch size
            does not divide the image size, the model has another form, lacks a setting or does not fit into memory.
    """
    spec = spec if isinstance(spec, BackboneSpec) else BackboneSpec(spec)
    backbone = _load_any(spec).to(find_device(device) if isinstance(device, str) else device)
    backbone.spec = replace(spec.located(), revision=backbone.revision)
    return backbone


def load_named(
    saved: BackboneSpec, given: str | BackboneSpec | Backbone | None = None, device: torch.device | str = "cpu"
) -> Backbone:
    """Build the backbone that a saved learner or run names; a path is followed only if the user gives it.

    Anyone may have written the file, so by itself it can only name a model of softtf, timm or the Hub.

    Args:
        saved: the spec in the file.
        given: the user's choice instead: a path or name (the file's other settings apply), a whole spec, or a loaded
            backbone.
        device: the device of the backbone.

    Raises:
        UserError: the file names a path that the user did not give, or as for `load_backbone`.
    """
    if isinstance(given, Backbone):
        return given.to(device)
    if isinstance(given, BackboneSpec):
        return load_backbone(given, device)
    spec = saved if given is None else _moved(saved, given)
    said = () if given is None else (given, model_name(BackboneSpec(given)))
    if not_given := [path for path in spec.paths if path in saved.paths and path not in said]:
        raise UserError(
            f"the learner names its backbone by a path, {not_given[0]!r}, which is used only if you give it:"
            f" --backbone {shlex.quote(not_given[0])}, in Python from_pretrained(folder, backbone={not_given[0]!r})"
        )
    return load_backbone(spec, device)


def _moved(saved: BackboneSpec, given: str) -> BackboneSpec:
    """Return the saved spec with another path: that of its weights file if it has one, else that of the model."""
    if saved.weights is not None and not os.path.isdir(given):
        return replace(saved, weights=Path(given))
    random = RANDOM if random_name(saved) and not given.startswith(RANDOM) else ""
    return replace(saved, name=random + given, weights=None, revision=None)


def spec_of(backbone: str | BackboneSpec | Backbone) -> BackboneSpec:
    """Return the spec with which a backbone can be loaded again; without `load_backbone`, its name only."""
    if isinstance(backbone, Backbone):
        return backbone.spec or BackboneSpec(backbone.name)
    return backbone if isinstance(backbone, BackboneSpec) else BackboneSpec(backbone)


def _load_any(spec: BackboneSpec) -> Backbone:
    name = model_name(spec)
    if spec.name in IMPORTED:
        return IMPORTED[spec.name](spec)
    folder = os.path.isdir(name)
    if folder or name in (BUNDLED, MINILM) or spec.weights or random_name(spec):
        spec.refuse("revision")
    if spec.name == BUNDLED or (architecture_of(name) and not folder):
        return load_vit(spec)
    if name == BUNDLED:
        raise UserError(f"backbone {spec.name!r}: the bundled model has its own weights; write {BUNDLED!r}")
    if name in TEXT_MODELS or folder or ("/" in name and not name.startswith("timm/")):
        return load_from_transformers(spec)
    known = vit_names() if "." in name else sorted({architecture_of(vit) for vit in vit_names()})
    near = get_close_matches(name.removeprefix("timm/").lower(), known, NEAR, 0.5)
    options = [*IMPORTED, *TEXT_MODELS, BUNDLED, *(vit for vit in near if is_supported(architecture_of(vit)))]
    raise unknown("backbone", name, options, imports=True)

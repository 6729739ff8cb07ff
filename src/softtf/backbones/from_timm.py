"""Vision Transformers of timm as backbones: by name, from a folder or the Hub in timm's format, or from one file."""

import inspect
import math
import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from softtf.backbones.base import check_depth, check_fits
from softtf.backbones.spec import BackboneSpec, model_name, random_name
from softtf.backbones.timm_vit import TimmViT, check_plain
from softtf.backbones.timm_weights import commit_of, download, load_weights, pretrained
from softtf.config.names import BUNDLED
from softtf.devices.memory import is_shortage
from softtf.devices.torch_state import drawing_from
from softtf.errors import UserError, unknown
from softtf.files.plain_json import read_json

BUNDLED_SIZE, BUNDLED_PATCH = 64, 8
UNDRAWN = {"weight_init": "skip"}
"""The option of timm for a model whose weights nobody reads: drawing them takes longer than building the model."""


def architecture_of(name: str) -> str:
    """Return the timm architecture of a name such as `timm/vit_base_patch16_224.augreg_in21k`; empty if unknown."""
    architecture = name.removeprefix("timm/").partition(".")[0]
    return architecture if timm.is_model(architecture) else ""


@cache
def vit_names() -> list[str]:
    """Return the names, with tags, of the timm models that have weights on the Hub and may be plain ViTs."""
    candidates = (name for name in timm.list_pretrained() if _is_candidate(name.partition(".")[0]))
    return [name for name in candidates if timm.get_pretrained_cfg(name).hf_hub_id]  # elsewhere are pickles alone


def _is_candidate(architecture: str) -> bool:
    """Return whether an architecture's module has the class of plain ViTs; other architectures take long to build."""
    module = sys.modules[timm.model_entrypoint(architecture).__module__]
    return getattr(module, "VisionTransformer", None) is VisionTransformer


@cache
def is_supported(architecture: str) -> bool:
    """Return whether `TimmViT` can run an architecture at its own image size.

    One block is checked, built without memory for its weights.
    """
    try:
        with torch.device("meta"):
            vit = timm.create_model(architecture, pretrained=False, num_classes=0, depth=1, **UNDRAWN)
        check_plain(vit, architecture)
        _check_images(vit, architecture)
    except (UserError, TypeError, ValueError, RuntimeError, AssertionError):  # such as a model without a depth
        return False
    return True


def load_vit(spec: BackboneSpec) -> TimmViT:
    """Build a model that timm knows by name, or the bundled one; errors are as for `load_backbone`."""
    spec.refuse("max_tokens", "pooling")
    if spec.name == BUNDLED:
        options: dict[str, Any] = {"patch_size": BUNDLED_PATCH, "img_size": spec.image_size or BUNDLED_SIZE}
        vit = _create("vit_tiny_patch16_224", spec, options, drawn=False)
        own = Path(str(resources.files("softtf.backbones") / "bundled" / f"{BUNDLED}.safetensors"))
        side = BUNDLED_SIZE // BUNDLED_PATCH
        load_weights(vit, spec.weights or own, spec.name, None if spec.weights else (side, side))
        return _backbone(vit, spec, {"mean": (0.5,) * 3, "std": (0.5,) * 3})
    name, random = model_name(spec).removeprefix("timm/"), random_name(spec)
    if random and spec.weights:
        raise UserError(f"backbone {spec.name!r} has random weights, but weights is {spec.weights}; choose one")
    _check_tag(name)
    options = {"img_size": spec.image_size} if spec.image_size else {}
    vit = _create(name, spec, options, drawn=random)
    if spec.weights:
        load_weights(vit, spec.weights, spec.name)
    elif not random:
        file = download(name, spec)
        vit = pretrained(name, spec, options, file)
        return _backbone(vit, spec, vit.pretrained_cfg, commit_of(file))
    return _backbone(vit, spec, vit.pretrained_cfg)


def load_saved(spec: BackboneSpec, config: Path, weights: Path | None) -> TimmViT:
    """Build a model that timm saved as `config.json` and `model.safetensors`, in a folder or on the Hub.

    Args:
        spec: the spec of the backbone.
        config: its config.json.
        weights: its model.safetensors; None for random weights.

    Raises:
        UserError: timm does not have the architecture, it is not a plain ViT, its images are not square, or the weights
            do not fit.
    """
    spec.refuse("weights", "max_tokens", "pooling")
    whole = read_json(config)
    about = _checked(whole, config)
    architecture = whole.get("architecture")
    if not isinstance(architecture, str) or not architecture_of(architecture):
        raise unknown(f"timm architecture in {config}", str(architecture), timm.list_models("vit_*"))
    options = {k: v for k, v in (whole.get("model_args") or {}).items() if k != "num_classes"}
    if foreign := sorted(options.keys() - inspect.signature(VisionTransformer).parameters.keys()):
        # timm.create_model takes more arguments than the model: it would also load checkpoints by their paths.
        raise UserError(f"{config}: model_args has {foreign[0]!r}, which is not a setting of a Vision Transformer")
    check_depth(options.get("depth"), str(config))
    sides = about.get("input_size", (None, None))[-2:]
    if about.get("fixed_input_size"):  # like timm, if the arguments give no other size
        options = {"img_size": tuple(sides)} | options
    if size := options.get("img_size"):
        sides = (size, size) if isinstance(size, int) else size
    if spec.image_size:
        options["img_size"] = spec.image_size
    vit = _create(architecture.partition(".")[0], spec, options, drawn=weights is None)
    if weights is not None:
        patch = vit.patch_embed.patch_size
        grid = None if None in sides else (int(sides[0]) // patch[0], int(sides[1]) // patch[1])
        load_weights(vit, weights, spec.name, grid)
    return _backbone(vit, spec, {**vit.pretrained_cfg, **about}, commit_of(config))


def _checked(whole: Any, config: Path) -> dict[str, Any]:
    """Return the part of a saved config about images.

    Raises:
        UserError: the config is not in timm's format.
    """
    about = whole.get("pretrained_cfg", whole) if isinstance(whole, dict) else whole
    if not isinstance(about, dict) or not isinstance(whole.get("model_args") or {}, dict):
        raise UserError(f"{config} is not a config of timm: it, or a part of it, is not an object with names")
    if "input_size" in about:
        _three(about, "input_size", str(config))
    return about


def _three(about: dict[str, Any], key: str, where: str) -> tuple[float, float, float]:
    """Return a setting of three numbers, which are positive except for the mean."""
    value = about.get(key)
    numbers = tuple(value) if isinstance(value, list | tuple) else ()
    plain = len(numbers) == 3 and all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
    if not plain or (key != "mean" and min(numbers) <= 0):
        raise UserError(f"{where}: {key} must be three {'' if key == 'mean' else 'positive '}numbers, not {value!r}")
    return numbers


def _backbone(
    vit: VisionTransformer, spec: BackboneSpec, config: dict[str, Any], revision: str | None = None
) -> TimmViT:
    mean, std = (_three(config, key, f"backbone {spec.name!r}") for key in ("mean", "std"))
    if spec.normalise == "unit":
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    backbone = TimmViT(vit, spec.name, mean, std)
    backbone.revision = revision
    return backbone


def _check_tag(name: str) -> None:
    """Refuse a name whose tag, after the dot, timm does not know.

    Raises:
        UserError: the tag is unknown; the message names the nearest ones.
    """
    architecture, dot, _ = name.partition(".")
    tags = [known for known in timm.list_pretrained(f"{architecture}.*") if known.partition(".")[0] == architecture]
    if dot and tags and name not in tags:
        raise unknown("backbone", name, tags)
    if dot and not tags:
        raise UserError(f"unknown backbone {name!r}: timm has no weights for {architecture!r}; leave the tag out")


def _create(name: str, spec: BackboneSpec, options: dict[str, Any], drawn: bool) -> VisionTransformer:
    """Create a timm model without its classifier; if `drawn`, with random weights from a fixed seed.

    It is first built without memory for its weights, to check its form and its size. If not `drawn`, its weights then
    have memory and no values.
    """
    with torch.device("meta"):
        vit = _built(name, spec, options | UNDRAWN)
    check_plain(vit, spec.name)
    _check_images(vit, spec.name, options.get("in_chans", 3))
    check_fits(vit, spec.name)
    if not drawn:
        return vit.to_empty(device="cpu")
    with drawing_from(0):
        return _built(name, spec, options)


def _check_images(vit: VisionTransformer, name: str, channels: int = 3) -> None:
    """Refuse a model whose images are not square, or not whole patches; raises UserError."""
    (patch, _), (size, width) = vit.patch_embed.patch_size, vit.patch_embed.img_size
    if size != width or channels != 3:
        raise UserError(f"backbone {name!r} does not take square images with three channels; choose another")
    if size % patch:
        raise UserError(
            f"image_size {size} is not a multiple of {name!r}'s patch size {patch};"
            f" the nearest multiples are {size // patch * patch} and {(size // patch + 1) * patch}"
        )


def _built(name: str, spec: BackboneSpec, options: dict[str, Any]) -> VisionTransformer:
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except TypeError:  # a model without an image size
        raise UserError(f"backbone {spec.name!r} is not a plain Vision Transformer of timm") from None
    except (AssertionError, ValueError, RuntimeError) as error:
        if is_shortage(error):
            raise
        raise UserError(f"backbone {spec.name!r} cannot be built at image size {spec.image_size}: {error}") from None

"""Find a backbone by name: the bundled ViT, any plain ViT of timm, models of transformers, or random weights."""

import math
from importlib import resources
from pathlib import Path

import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.from_transformers import CLIP_MODELS, TEXT_MODELS, load_from_transformers
from softtf.backbones.spec import BUNDLED, MINILM, RANDOM, BackboneSpec, random_name
from softtf.backbones.timm_vit import TimmViT, check_plain
from softtf.errors import UserError, unknown
from softtf.store import load_tensors

__all__ = ["BUNDLED", "MINILM", "BackboneSpec", "backbone_names", "load_backbone", "random_name", "spec_of"]


def backbone_names() -> list[str]:
    """Return the bundled backbone, text encoders, CLIPs, and timm's plain Vision Transformers that have weights."""
    return [BUNDLED, *TEXT_MODELS, *CLIP_MODELS, *(n for n in timm.list_models("vit_*", pretrained=True))]


def load_backbone(spec: BackboneSpec, device: torch.device | str = "cpu") -> Backbone:
    """Build a frozen backbone.

    A folder and a name that timm does not have are for transformers; where those do not sound like one of its models,
    the name is unknown.

    Raises:
        UserError: unknown name, a file that is missing or does not fit, a Hub that cannot be reached, an image
            size that the patch size does not divide, a model of another form, a setting that it does not have.
    """
    backbone = _load_any(spec).to(device)
    backbone.spec = spec
    return backbone


def spec_of(backbone: str | BackboneSpec | Backbone) -> BackboneSpec:
    """Return what a backbone is found by again; of one that `load_backbone` did not load, its name alone."""
    if isinstance(backbone, Backbone):
        return backbone.spec or BackboneSpec(backbone.name)
    return backbone if isinstance(backbone, BackboneSpec) else BackboneSpec(backbone)


def _load_any(spec: BackboneSpec) -> Backbone:
    name = spec.name.removeprefix(RANDOM)
    if spec.name == BUNDLED or (timm.is_model(name.partition(".")[0]) and not Path(name).is_dir()):
        return _load_vit(spec)
    if name in TEXT_MODELS or "/" in name or Path(name).is_dir():
        return load_from_transformers(spec)
    raise unknown("backbone", name, [*TEXT_MODELS, BUNDLED, *timm.list_models("vit_*"), *timm.list_pretrained("vit_*")])


def _load_vit(spec: BackboneSpec) -> TimmViT:
    spec.refuse("max_tokens", "pooling")
    if spec.name == BUNDLED:
        vit = _create("vit_tiny_patch16_224", spec, {"patch_size": 8, "img_size": spec.image_size or 64})
        path = spec.weights or Path(str(resources.files("softtf.backbones") / "bundled" / f"{BUNDLED}.safetensors"))
        _load(vit, path, spec.name)
        mean = std = (0.5, 0.5, 0.5)
    else:
        random = random_name(spec)
        options = {"img_size": spec.image_size} if spec.image_size else {}
        if random and spec.weights:
            raise UserError(f"backbone {spec.name!r} asks for random weights and for {spec.weights}; choose one")
        name = spec.name.removeprefix(RANDOM)
        vit = _create(name, spec, options, pretrained=not random and spec.weights is None)
        if spec.weights:
            _load(vit, spec.weights, spec.name)
        config = vit.pretrained_cfg
        mean, std = tuple(config["mean"]), tuple(config["std"])
    if spec.normalise == "unit":
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return TimmViT(vit, spec.name, mean, std)


def _create(name: str, spec: BackboneSpec, options: dict[str, int], pretrained: bool = False) -> VisionTransformer:
    """Create a timm model without classifier, random weights drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            vit = timm.create_model(name, pretrained=False, num_classes=0, **options)
        except TypeError:  # a model without an image size
            raise UserError(f"backbone {spec.name!r} is not a plain Vision Transformer of timm") from None
        except (AssertionError, ValueError) as error:
            raise UserError(
                f"backbone {spec.name!r} cannot be built at image size {spec.image_size}: {error}"
            ) from None
    check_plain(vit, spec.name)
    patch, size = vit.patch_embed.patch_size[0], vit.patch_embed.img_size[0]
    if size % patch:
        raise UserError(
            f"image_size {size} is not a multiple of {spec.name!r}'s patch size {patch};"
            f" the nearest that are: {size // patch * patch} and {(size // patch + 1) * patch}"
        )
    return _pretrained(name, spec, options) if pretrained else vit


def _pretrained(name: str, spec: BackboneSpec, options: dict[str, int]) -> VisionTransformer:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0, **options)
    except Exception as error:  # the Hub client raises many kinds; all mean the same to the user
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise UserError(
            f"the weights of backbone {spec.name!r} could not be had from the Hub ({reason}); give a local file"
            " as backbone.weights (--backbone.weights FILE.safetensors; of a table --set backbone.weights=FILE),"
            f" or ask for random ones with the name '{RANDOM}{name}'"
        ) from None


def _load(vit: VisionTransformer, path: Path, name: str) -> None:
    """Load a local safetensors file of timm names; a classifier in it is left out.

    Position embeddings of another image size are resampled, as timm does for what it downloads.

    Raises:
        UserError: the file is missing or damaged, or its names or shapes are not this model's.
    """
    tensors = {k: v.float() for k, v in load_tensors(path).items() if not k.startswith(("head.", "head_dist."))}
    expected = vit.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} too many"
        raise UserError(f"{path} does not fit backbone {name!r}: it {what} ({len(missing) + len(extra)} names differ)")
    if "pos_embed" in tensors:
        tensors["pos_embed"] = _resampled(tensors["pos_embed"], vit)
    for key, value in tensors.items():
        if value.shape != expected[key].shape:
            raise UserError(
                f"{path} does not fit backbone {name!r}: {key} has shape {tuple(value.shape)},"
                f" not {tuple(expected[key].shape)}"
            )
    vit.load_state_dict(tensors)


def _resampled(positions: Tensor, vit: VisionTransformer) -> Tensor:
    """Return position embeddings [1, tokens, dim] for the model's own grid of patches."""
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    patches = positions.shape[1] - prefix if positions.dim() == 3 else 0
    if positions.shape == vit.pos_embed.shape or patches < 1 or math.isqrt(patches) ** 2 != patches:
        return positions
    grid = list(vit.patch_embed.grid_size)
    resampled: Tensor = resample_abs_pos_embed(positions, grid, num_prefix_tokens=prefix)
    return resampled

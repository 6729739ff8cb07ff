"""Weights of Vision Transformers of timm: downloaded, or read from a safetensors file and fitted to the image size."""

import math
import re
from pathlib import Path
from typing import Any

import timm
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from softtf.backbones.spec import RANDOM, BackboneSpec
from softtf.errors import UserError, first_line_of
from softtf.files.tensors import load_tensors
from softtf.saying import warn

Grid = tuple[int, int]
COMMIT = re.compile("/snapshots/([0-9a-f]{40})/")


def commit_of(file: Path) -> str | None:
    """Return the commit of a file in the Hub's cache, .../snapshots/COMMIT/...; None for any other file."""
    found = COMMIT.search(file.as_posix())
    return found and found[1]


def download(name: str, spec: BackboneSpec) -> Path:
    """Download a model's weights from the Hub, in a safetensors file.

    Raises:
        UserError: the Hub has no such file or cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    about = timm.get_pretrained_cfg(name)
    usual = Path(about.hf_hub_filename or "model.bin").with_suffix(".safetensors").name
    reason = "it has only pickles, which are never read"
    try:
        for file in dict.fromkeys((usual, "model.safetensors", "open_clip_model.safetensors")):
            try:
                return Path(hf_hub_download(about.hf_hub_id or f"timm/{name}", file, revision=spec.revision))
            except LocalEntryNotFoundError:  # the Hub was not reached
                raise
            except EntryNotFoundError:
                continue
    except Exception as error:  # the Hub's client raises many kinds, which mean the same to the user
        reason = first_line_of(error)
    raise UserError(
        f"the weights of backbone {spec.name!r} could not be downloaded from the Hub ({reason}); give a local file"
        " as backbone.weights (--backbone.weights FILE.safetensors; for a table --set backbone.weights=FILE),"
        f" or random weights with the name '{RANDOM}{name}'"
    )


def pretrained(name: str, spec: BackboneSpec, options: dict[str, Any], file: Path) -> VisionTransformer:
    """Create a pretrained model as timm does, with its weights from a safetensors file."""
    try:
        overlay = {"file": str(file), "custom_load": False}
        return timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:
        reason = first_line_of(error)
        raise UserError(f"the weights of backbone {spec.name!r} in {file} do not fit it ({reason})") from None


def load_weights(vit: VisionTransformer, path: Path, name: str, grid: Grid | None = None) -> None:
    """Load a local safetensors file with timm's names, without its classifier.

    Position embeddings for another image size are resampled, as timm does for downloaded weights.

    Args:
        vit: the model.
        path: the file.
        name: the backbone's name, for messages.
        grid: the rows and columns of patches for which the file has positions; None if unknown.

    Raises:
        UserError: the file is missing or damaged, or its names or shapes differ from the model's.
    """
    tensors = {k: v.float() for k, v in load_tensors(path).items() if not k.startswith(("head.", "head_dist."))}
    expected = vit.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"also has {extra[0]!r}"
        raise UserError(f"{path} does not fit backbone {name!r}: it {what} ({len(missing) + len(extra)} names differ)")
    if "pos_embed" in tensors:
        tensors["pos_embed"] = _resampled(tensors["pos_embed"], vit, path, grid)
    for key, value in tensors.items():
        if value.shape != expected[key].shape:
            raise UserError(
                f"{path} does not fit backbone {name!r}: {key} has shape {tuple(value.shape)},"
                f" not {tuple(expected[key].shape)}"
            )
    vit.load_state_dict(tensors)


def _resampled(positions: Tensor, vit: VisionTransformer, path: Path, grid: Grid | None) -> Tensor:
    """Return position embeddings [1, tokens, dim] for the model's grid of patches.

    A file does not say which grid its positions have. Without `grid`, it is taken to be the model's, or else a square,
    with a warning.
    """
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    patches = positions.shape[1] - prefix if positions.dim() == 3 else 0
    rows, columns = vit.patch_embed.grid_size
    if grid is None or grid[0] * grid[1] != patches:
        side = math.isqrt(max(patches, 0))
        if positions.shape == vit.pos_embed.shape or patches < 1 or side**2 != patches:
            return positions
        warn(
            f"{path} has positions of {patches} patches and does not say in which grid; they are taken as"
            f" {side} x {side} and resampled to {rows} x {columns}",
            stacklevel=2,
        )
        grid = side, side
    if grid == (rows, columns):
        return positions
    resampled: Tensor = resample_abs_pos_embed(positions, [rows, columns], list(grid), num_prefix_tokens=prefix)
    return resampled

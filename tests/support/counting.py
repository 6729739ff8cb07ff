"""A backbone that counts what it is run on, loaders of pictures, and a store's notes: for tests of fixed queries."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from softtf.backbones.feature_store import FeatureStore, Queries
from softtf.backbones.features import BATCH, fixed_queries
from softtf.backbones.timm_vit import TimmViT
from softtf.streams import Examples, ImagePreparation, Loader
from support.tiny import MEAN, STD, pictures, tiny_vit

COUNT = BATCH + 6


def backbone_of(vit: VisionTransformer | None = None, mean: Any = MEAN, std: Any = STD) -> TimmViT:
    """A tiny backbone in float32 that counts the examples it is run on."""
    backbone = TimmViT(vit or tiny_vit(), "tiny", mean, std)
    true_embed, backbone.seen = backbone.embed, []

    def embed(inputs: torch.Tensor) -> Any:
        backbone.seen += [1] * len(inputs)
        return true_embed(inputs)

    backbone.embed = embed  # type: ignore[method-assign]
    return backbone


def loader_of(
    rows: Any = None, preparation: Any = None, batch_size: int = 7, labels: Any = None, device: str = "cpu"
) -> Loader:
    rows = pictures(COUNT) if rows is None else rows
    examples = Examples(list(rows), labels or [0] * len(rows))
    unread = torch.zeros(len(rows), dtype=torch.int64)
    return Loader(examples, unread, preparation or ImagePreparation(16), False, batch_size, device)


class Notes(list[str]):
    """A store's notes."""

    def store(self, folder: Path, backbone: TimmViT) -> FeatureStore:
        return FeatureStore(folder, backbone.weights_hash(), self.append)


def kept(folder: Path, notes: Notes) -> tuple[Path, Queries]:
    """The file of the usual queries, and these."""
    backbone = backbone_of()
    queries = fixed_queries(backbone, loader_of(), notes.store(folder, backbone))
    (file,) = folder.iterdir()
    return file, queries


def path_of(backbone: TimmViT, loader: Loader) -> Path:
    return FeatureStore(Path("x"), backbone.weights_hash(), print).path(backbone, loader)


def image_files(folder: Path) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{i}.png" for i in range(COUNT)]
    for file, pixels in zip(files, pictures(COUNT), strict=True):
        Image.fromarray(np.asarray(pixels)).save(file)
    return files

"""Saved learners: loading them, and changing what is in their files."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from contracts.tiny import tiny_backbone
from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.learners import DualPrompt
from softtf.store import load_tensors, save_tensors

SOFT_TF = DualPrompt(e_layers=(3,), adapt=SoftMask((4,)))


def load(folder: Path, **options: object) -> ContinualClassifier:
    options = {"backbone": tiny_backbone()} | options
    return ContinualClassifier.from_pretrained(folder, device="cpu", **options)  # type: ignore[arg-type]


def change(path: Path, **values: object) -> None:
    """Edit a json file as somebody with an editor would."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object], name: str = "task-002") -> None:
    """Change task 2's tensors and give the right hash for them."""
    tensors = load_tensors(folder / f"{name}.safetensors")
    edit(tensors)
    sha256 = save_tensors(folder / f"{name}.safetensors", tensors)
    number = name.split("-")[1]
    files = json.loads((folder / f"task-{number}.json").read_text())["files"]
    change(folder / f"task-{number}.json", files=files | {f"{name}.safetensors": sha256})

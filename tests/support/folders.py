"""Saved learners: loading them, and changing what is in their files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.files.tensors import load_tensors, save_tensors
from softtf.learners import DualPrompt
from softtf.saving.manifest import HEADER, MANIFEST, seal
from support.tiny import tiny_backbone

SOFT_TF = DualPrompt(e_layers=(3,), adapt=SoftMask((4,)))


def load(folder: Path, **options: object) -> ContinualClassifier:
    options = {"backbone": tiny_backbone()} | options
    return ContinualClassifier.from_pretrained(folder, device="cpu", **options)  # type: ignore[arg-type]


def read(path: Path) -> dict[str, Any]:
    """What a JSON file of a learner says, without its seal."""
    content = json.loads(path.read_text())
    content.pop("sha256", None)
    return content


def change(path: Path, **values: object) -> None:
    """Change a JSON file as softtf would have written it: with the hashes that fit, as hashes find no attackers."""
    path.write_text(seal(read(path) | values))
    fit_manifest(path.parent)


def fit_manifest(folder: Path) -> None:
    """Make a manifest, if there is one, name what the files hold now."""
    if (folder / MANIFEST).exists():
        files = read(folder / MANIFEST)["files"]
        for part in files.values():
            if (folder / part["file"]).exists():
                part["sha256"] = hashlib.sha256((folder / part["file"]).read_bytes()).hexdigest()
        (folder / MANIFEST).write_text(seal({"format": 1, "files": files}))


def replace_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object], name: str = "task-002") -> None:
    """Change task 2's tensors and give the right hash for them."""
    tensors = load_tensors(folder / f"{name}.safetensors")
    edit(tensors)
    sha256 = save_tensors(folder / f"{name}.safetensors", tensors)
    number = name.split("-")[1]
    files = read(folder / f"task-{number}.json")["files"]
    change(folder / f"task-{number}.json", files=files | {f"{name}.safetensors": sha256})


def as_softtf_0_1_saved_it(folder: Path, finished: bool = True) -> None:
    """Turn a learner that was saved now into what softtf 0.1 wrote: JSON without hashes, and no manifest."""
    shared = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("shared-*")}
    (folder / MANIFEST).unlink(missing_ok=True)
    tasks = sorted(folder.glob("task-*.json"))
    for path in [folder / HEADER, *tasks]:
        content = read(path)
        if path.name != HEADER:
            content["files"] |= {name: sha for name, sha in shared.items() if path.stem[5:] in name}
        else:
            content.pop("manifest")
            content |= {"format": 1, "tasks": len(tasks) if finished else None}
        path.write_text(json.dumps(content, indent=2))

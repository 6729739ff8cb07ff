"""Continual learning with frozen pre-trained transformers.

A frozen backbone learns one task after another; what is a task's own never changes afterwards::

    from softtf import ContinualClassifier, DualPrompt, SoftMask

    model = ContinualClassifier(
        "vit_base_patch16_224.orig_in21k",
        DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12")),
    )
    for task in stream:
        model.learn(task.train)              # one call is one task; labels may be strings
    labels = model.predict(images)           # the task is inferred for each sample alone
    model.save_pretrained("birds-and-cars")  # safetensors, one file a task; the backbone is named, not copied

What tasks share goes on training: DualPrompt's G-prompt, unless `freeze_g_after_first`; other methods' whole network.

`vit_tiny_patch8_64` is a small backbone that comes with the package and needs no download.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softtf.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Return a module of softtf, a public name or the list of these; all public names are loaded with the first.

    So importing softtf alone is quick and does nothing to the machine. Torch, when it is imported, runs `ldconfig`, and
    torchvision, which timm imports, makes a folder for torch's compiler.
    """
    if find_spec(f"softtf.{name}"):
        return import_module(f"softtf.{name}")
    public = import_module("softtf.public") if name == "__all__" or not name.startswith("_") else None
    if public and (name == "__all__" or name in public.__all__):
        return getattr(public, name)
    raise AttributeError(f"module 'softtf' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(import_module("softtf.public").__all__)

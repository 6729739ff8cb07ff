"""Continual learning with frozen pre-trained transformers.

A learner adds parameters to a frozen backbone, one task after another. A task's own parameters never change later::

    from softtf import ContinualClassifier, DualPrompt, SoftMask

    model = ContinualClassifier(
        "vit_base_patch16_224.orig_in21k",
        DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12")),
    )
    for task in stream:
        model.learn(task.train)              # one call is one task; labels may be strings
    labels = model.predict(images)           # the task is inferred for each sample alone
    model.save_pretrained("birds-and-cars")  # safetensors, one file per task; the backbone is named, not copied

Every task trains the shared parameters further: DualPrompt's G-prompt (unless `freeze_g_after_first`), or the whole
network of some other methods.

`vit_tiny_patch8_64` is a small backbone that comes with the package and needs no download.

One Python file of your own can add a learner (`softtf.learners`), an adaptation (`softtf.adaptations`), a task
inference (`softtf.inference`, `softtf.statistics`), a metric (`softtf.evaluation`), a source of data
(`softtf.streams`) or a backbone (`softtf.backbones`). `softtf.testing` checks it; docs/extend has an example of each.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softtf.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Return a module of softtf, the version, a public name or the list of them; the first use of one loads them all.

    `import softtf` alone is therefore quick and leaves the machine as it is. (Importing torch runs `ldconfig`;
    importing torchvision, as timm does, makes a folder for torch's compiler.)
    """
    if name == "__version__":
        found: str = import_module("importlib.metadata").version("softtf")  # slow to import
        return found
    if find_spec(f"softtf.{name}"):
        return import_module(f"softtf.{name}")
    public = import_module("softtf.public") if name == "__all__" or not name.startswith("_") else None
    if public and (name == "__all__" or name in public.__all__):
        return getattr(public, name)
    raise AttributeError(f"module 'softtf' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(import_module("softtf.public").__all__)

"""The methods by name, as plain data (METHOD sections 2, 3, 5); importing this loads no torch.

Every kind of learner is a method, and so is every variant: a kind with settings. Where a published method has other
settings than the defaults of its class, they are here (docs/methods.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from softtf.config.declared import declared
from softtf.registry import own

Settings = Mapping[str, Any]
"""Values by the dotted name of their setting; a mapping in place of a value makes that part anew."""


@dataclass(frozen=True)
class Method:
    """A learner with settings, under a name.

    Attributes:
        kind: of the learner.
        title: its name in tables; a variant without one has its kind's.
        settings: what differs from the learner's defaults, by dotted name.
    """

    kind: str
    title: str = ""
    settings: Settings = field(default_factory=dict)


PGP = {"spectrum": "published"}
LOW_MASKS, HIGH_MASKS = ({"kind": "soft-mask", "layers": layers} for layers in ("3-5", "10-12"))

DEFAULT = "soft-tf"
"""The method of a run, or a classifier, for which none is named: what answers best per sample (docs/results.md)."""

VARIANTS = {
    DEFAULT: Method("block-ridge", "SoftTF, the default (BlockRidge)"),
    "der+mcg": Method("der"),
    "idbr": Method("idbr", settings={"task_rate": 5e-4 / 3e-5}),
    "l2p+pgp": Method("l2p", "L2P + PGP", {"projection": PGP, "key_eps": 0.97}),
    "l2p+soft-tf": Method("l2p", "L2P + Soft-TF", {"adapt": HIGH_MASKS}),
    "l2p+pgp+soft-tf": Method("l2p", "L2P + PGP + Soft-TF", {"adapt": HIGH_MASKS, "projection": PGP, "key_eps": 0.97}),
    "dual-prompt+pgp": Method("dual-prompt", "DualPrompt + PGP", {"projection": PGP}),
    "dual-prompt+soft-tf": Method("dual-prompt", "DualPrompt + Soft-TF", {"e_layers": "10-12", "adapt": HIGH_MASKS}),
    "dual-prompt+adapter": Method(
        "dual-prompt",
        "DualPrompt + Adapter",
        {"e_layers": "10-12", "adapt": {"kind": "adapter", "layers": "all", "rank": 75, "init": "soft-tf"}},
    ),
    "dual-prompt+lora": Method(
        "dual-prompt",
        "DualPrompt + LoRA",
        {
            "e_layers": "10-12",
            "adapt": {"kind": "lora", "layers": "10-12", "rank": 500, "dropout": 0.1, "init": "soft-tf"},
        },
    ),
    "dual-prompt+wsn": Method(
        "dual-prompt", "DualPrompt + WSN", {"e_layers": "10-12", "adapt": {"kind": "binary-mask", "layers": "10-12"}}
    ),
    "dual-prompt+softnet": Method(
        "dual-prompt", "DualPrompt + SoftNet", {"e_layers": "10-12", "adapt": {"kind": "soft-net", "layers": "10-12"}}
    ),
    "dual-prompt+pgp+soft-tf": Method(
        "dual-prompt", "DualPrompt + PGP + Soft-TF", {"adapt": LOW_MASKS, "projection": PGP}
    ),
    "coda-prompt+soft-tf": Method("coda-prompt", "CODA-Prompt + Soft-TF", {"adapt": HIGH_MASKS}),
    "hide-prompt+soft-tf": Method("hide-prompt", "HiDe-Prompt + Soft-TF", {"adapt": HIGH_MASKS}),
    "norga+soft-tf": Method("norga", "NoRGa + Soft-TF", {"adapt": HIGH_MASKS}),
    "clip-prompt+pgp": Method("clip-prompt", "CLIP-Prompt + PGP", {"projection": {"eps": 0.9}}),
    "clip-prompt+soft-tf": Method("clip-prompt", "CLIP-Prompt + Soft-TF", {"adapt": LOW_MASKS}),
    "clip-prompt-published+pgp": Method(
        "clip-prompt-published", "CLIP-Prompt as published + PGP", {"projection": PGP | {"eps": 0.9}}
    ),
    "clip-prompt-published+soft-tf": Method(
        "clip-prompt-published", "CLIP-Prompt as published + Soft-TF", {"adapt": LOW_MASKS}
    ),
}


def known_methods() -> dict[str, Method]:
    """Return every method by name; those of imported files come last."""
    return _of_softtf() | {kind: Method(kind, spec.title) for kind, spec in own("learner").items()}


@cache
def _of_softtf() -> dict[str, Method]:
    titles = {found["kind"]: found["title"] for found in declared("learners") if "kind" in found}
    renamed = {method.kind for method in VARIANTS.values() if not method.settings and not method.title}
    plain = {kind: Method(kind, title) for kind, title in titles.items() if kind not in renamed}
    variants = {name: replace(method, title=method.title or titles[method.kind]) for name, method in VARIANTS.items()}
    return dict(sorted((plain | variants).items()))


def title_of(name: str) -> str:
    """Return a method's name in tables; the name itself if there is no such method."""
    found = known_methods().get(name)
    return found.title if found else name

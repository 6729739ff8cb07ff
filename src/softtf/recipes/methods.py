"""The paper's methods by name, as plain data (METHOD sections 2, 3, 5); importing this loads no torch.

A method is a kind of learner with settings and the layers that its runs use. Where the settings that a comparator
published are not the defaults of its class, they stand here (docs/methods.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Any]
"""Values by the dotted name of their setting; a mapping in place of a value makes that part anew."""


@dataclass(frozen=True)
class Method:
    """A learner with settings, under a name of its own.

    Attributes:
        kind: of the learner.
        title: what tables call it.
        settings: what differs from the learner's defaults, by dotted name.
    """

    kind: str
    title: str
    settings: Settings = field(default_factory=dict)


PGP = {"spectrum": "published"}
LOW_MASKS, HIGH_MASKS = ({"kind": "soft-mask", "layers": layers} for layers in ("3-5", "10-12"))

METHODS = {
    "block-ridge": Method("block-ridge", "BlockRidge (frozen features)"),
    "ncm": Method("ncm", "NCM (frozen features)"),
    "ranpac": Method("ranpac", "RanPAC (frozen features)"),
    "linear-head": Method("linear-head", "Linear head only"),
    "ft": Method("ft", "FT, whole network"),
    "ewc": Method("ewc", "EWC"),
    "lwf": Method("lwf", "LwF"),
    "der++": Method("der++", "DER++"),
    "icarl": Method("icarl", "iCaRL"),
    "bic": Method("bic", "BiC"),
    "der+mcg": Method("der", "DER + MCG"),
    "mbpa++": Method("mbpa++", "MBPA++"),
    "idbr": Method("idbr", "IDBR", {"task_rate": 5e-4 / 3e-5}),
    "slm": Method("slm", "SLM"),
    "progressive-prompts": Method("progressive-prompts", "Progressive Prompts (task given)"),
    "l2p": Method("l2p", "L2P"),
    "l2p+pgp": Method("l2p", "L2P + PGP", {"projection": PGP, "key_eps": 0.97}),
    "l2p+soft-tf": Method("l2p", "L2P + Soft-TF", {"adapt": HIGH_MASKS}),
    "l2p+pgp+soft-tf": Method("l2p", "L2P + PGP + Soft-TF", {"adapt": HIGH_MASKS, "projection": PGP, "key_eps": 0.97}),
    "dual-prompt": Method("dual-prompt", "DualPrompt"),
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
    "clip-zero-shot": Method("clip-zero-shot", "CLIP, zero-shot"),
    "clip-prompt": Method("clip-prompt", "CLIP-Prompt"),
    "clip-prompt+pgp": Method("clip-prompt", "CLIP-Prompt + PGP", {"projection": {"eps": 0.9}}),
    "clip-prompt+soft-tf": Method("clip-prompt", "CLIP-Prompt + Soft-TF", {"adapt": LOW_MASKS}),
    "clip-prompt-published": Method("clip-prompt-published", "CLIP-Prompt as published"),
    "clip-prompt-published+pgp": Method(
        "clip-prompt-published", "CLIP-Prompt as published + PGP", {"projection": PGP | {"eps": 0.9}}
    ),
    "clip-prompt-published+soft-tf": Method(
        "clip-prompt-published", "CLIP-Prompt as published + Soft-TF", {"adapt": LOW_MASKS}
    ),
}


def title_of(name: str) -> str:
    """Return what tables call a method; its name if it is none of METHODS."""
    return METHODS[name].title if name in METHODS else name

"""Which frozen weights an adaptation changes: layers and targets as the paper writes them."""

import torch

from softtf.adaptations.base import Layers, Site, parse_layers
from softtf.backbones.base import Backbone
from softtf.errors import UserError, unknown

TARGETS = ("qkv", "query", "key", "value", "proj", "fc1", "fc2")
QKV = ("query", "key", "value")
TARGET_SETS = {  # the paper's names, Tables 1 and 8
    "attn": ("qkv",),
    "only attn": ("qkv",),
    "w/ only attn": ("qkv",),
    "w/o ff": ("qkv", "proj"),
    "w/ ff": ("qkv", "proj", "fc1", "fc2"),
    "all": ("qkv", "proj", "fc1", "fc2"),
}


def parse_targets(targets: str) -> tuple[str, ...]:
    """Turn `w/o FF`, `attn` or `qkv,proj` into canonical weight names.

    Raises:
        UserError: a name is not a weight of a block.
    """
    text = " ".join(targets.lower().split())
    if text in TARGET_SETS:
        return TARGET_SETS[text]
    names = [part.strip() for part in text.replace("+", ",").split(",") if part.strip()]
    for name in names:
        if name not in TARGETS:
            raise unknown("target", name, [*TARGETS, *TARGET_SETS])
    if not names:
        raise UserError(f"targets {targets!r} name no weight; write for example qkv,proj or 'w/o FF'")
    return tuple(dict.fromkeys(names))


def backbone_names(names: tuple[str, ...], backbone: Backbone) -> tuple[str, ...]:
    """Return the names in this backbone (`qkv` stands for query, key and value where they are separate).

    Raises:
        UserError: the backbone has no such weight.
    """
    found: list[str] = []
    for name in names:
        parts = QKV if name == "qkv" and "qkv" not in backbone.weight_names else (name,)
        for part in parts:
            if part not in backbone.weight_names:
                raise UserError(
                    f"target {part!r} matches nothing in backbone {backbone.name!r};"
                    f" its weights are {', '.join(backbone.weight_names)}"
                )
        found.extend(parts)
    return tuple(found)


def blocks_of(layers: Layers, backbone: Backbone, what: str) -> tuple[int, ...]:
    """Return the blocks (from 0) that `what` edits.

    Raises:
        UserError: a layer is not in the backbone, or there is none.
    """
    blocks = parse_layers(layers, backbone.depth, f"{what} layers")
    if not blocks:
        raise UserError(f"{what} layers {layers!r} match no layer; leave the {what} out instead")
    return blocks


def weight_shapes(layers: Layers, targets: str, backbone: Backbone, what: str) -> dict[Site, torch.Size]:
    """Return the shape [out, in] of each weight that `what` edits, by its site.

    Raises:
        UserError: a layer or target is not in the backbone, or there is no layer.
    """
    blocks = blocks_of(layers, backbone, what)
    names = backbone_names(parse_targets(targets), backbone)
    return {Site(b, n): backbone.linear(b, n).weight.shape for b in blocks for n in names}


def slot_key(block: int, name: str) -> str:
    """Return the name in a slot of the entry for weight `name` of block `block`."""
    return f"layer{block + 1:02d}_{name}"

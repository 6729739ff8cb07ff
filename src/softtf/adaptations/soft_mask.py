"""Soft masks (Soft-TransFormers, section 4): W_t = W * m_t, one real-valued mask per weight, layer and task.

A finished task's masks are kept in a byte a number: their deviation from one, rounded (`softtf.packing`).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from softtf.adaptations.base import Adaptation, AdaptationSpec, Layers, parse_layers
from softtf.backbones.base import Backbone
from softtf.errors import UserError, unknown
from softtf.packing import Packed, pack
from softtf.slots import MappedSlot

TARGET_SETS = {  # the paper's names, Tables 1 and 8
    "attn": ("qkv",),
    "only attn": ("qkv",),
    "w/ only attn": ("qkv",),
    "w/o ff": ("qkv", "proj"),
    "w/ ff": ("qkv", "proj", "fc1", "fc2"),
    "all": ("qkv", "proj", "fc1", "fc2"),
}
INITS = ("ones", "uniform(a,b)", "normal(std)", "xavier", "kaiming")
STORES = ("int8", "float32")
STEPS = "_steps"  # ends the names of packed masks' steps


@dataclass(frozen=True)
class SoftMask(AdaptationSpec, kind="soft-mask"):
    """A soft mask per task on chosen linear layers.

    Attributes:
        layers: as the paper counts them, from 1: `10,11,12`, `10-12`, `all` or a tuple.
        targets: `qkv`, `proj`, `fc1`, `fc2` (several with commas), or the paper's `attn`, `w/o FF`, `w/ FF`.
        init: `ones` (Table 4's Uniform(1.0, 1.0)), `uniform(a,b)` (the published code draws uniform(0.99,1)),
            `normal` or `normal(std)` (std 0.01), `xavier`, `kaiming`.
        store: how a finished task's masks are kept, in memory and on disk. `int8`: a byte a number, each within
            1/254 of its row's largest deviation (from one; with `normal`, `xavier`, `kaiming` from zero).
            `float32`: exact.
    """

    layers: Layers = (10, 11, 12)
    targets: str = "w/o FF"
    init: str = "ones"
    store: Literal["int8", "float32"] = "int8"

    def __post_init__(self) -> None:
        parse_layers(self.layers, what="soft-mask layers")
        parse_targets(self.targets)
        initial_mask(self.init, torch.Size((2, 2)), torch.Generator())
        if self.store not in STORES:
            raise unknown("soft-mask store", self.store, STORES)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the masks for `backbone`, with no task yet."""
        blocks = parse_layers(self.layers, backbone.depth, "soft-mask layers")
        names = backbone_names(parse_targets(self.targets), backbone)
        if not blocks:
            raise UserError(f"soft-mask layers {self.layers!r} match no layer; leave the mask out instead")
        return [SoftMasks(backbone, blocks, names, self)]


class SoftMasks(Adaptation):
    """Masks m_t of the shape of each target weight; the frozen weight is multiplied, never written to."""

    def __init__(self, backbone: Backbone, blocks: tuple[int, ...], names: tuple[str, ...], spec: SoftMask) -> None:
        super().__init__()
        self.task_blocks = frozenset(blocks)
        self.spec = spec
        self.centre = 1.0 if spec.init.strip().lower().startswith(("ones", "uniform")) else 0.0
        self.on_disk = False
        self.shapes = {(b, n): backbone.linear(b, n).weight.shape for b in blocks for n in names}

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return one mask per target weight."""
        return {_key(b, n): initial_mask(self.spec.init, shape, generator) for (b, n), shape in self.shapes.items()}

    def packed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each mask's codes under its own name and its steps beside it, or all as it is (`float32`)."""
        if self.spec.store == "float32":
            return values
        masks = {name: pack(value, self.centre) for name, value in values.items()}
        return {n: m.codes for n, m in masks.items()} | {n + STEPS: m.steps for n, m in masks.items()}

    def keep_on_disk(self) -> None:
        """Leave masks that are loaded from now on in their files; they are fetched when a task is used."""
        self.on_disk = True

    def load_task(self, state: dict[str, Tensor]) -> None:
        """Append a finished task's masks, packed or in float32 as an earlier version saved them."""
        if self.on_disk:
            self.slots.append(MappedSlot(state))
        else:
            super().load_task(state)

    def num_parameters(self, task: int) -> int:
        """Return how many mask entries were trained; steps are none."""
        return sum(value.numel() for name, value in self.slot(task).items() if not name.endswith(STEPS))

    def edits_weight(self, block: int, name: str) -> bool:
        """Say whether this weight is masked."""
        return (block, name) in self.shapes

    def mask(self, block: int, name: str, task: int) -> Tensor | Packed:
        """Return m_t [out, in]: as it is trained, or packed if its task is finished."""
        slot, key = self.slot(task), _key(block, name)
        values: Tensor = slot[key]
        return Packed(values, slot[key + STEPS], self.centre) if key + STEPS in slot else values

    def weight(self, block: int, name: str, weight: Tensor, task: int | None) -> Tensor:
        """Return W * m_t [out, in]."""
        assert task is not None
        mask = self.mask(block, name, task)
        return mask.times(weight) if isinstance(mask, Packed) else weight * mask.to(weight.device)


def _key(block: int, name: str) -> str:
    return f"layer{block + 1:02d}_{name}"


def parse_targets(targets: str) -> tuple[str, ...]:
    """Turn `w/o FF`, `attn` or `qkv,proj` into canonical weight names.

    Raises:
        UserError: a name that is no weight of a block.
    """
    text = " ".join(targets.lower().split())
    if text in TARGET_SETS:
        return TARGET_SETS[text]
    names = [part.strip() for part in text.replace("+", ",").split(",") if part.strip()]
    for name in names:
        if name not in ("qkv", "query", "key", "value", "proj", "fc1", "fc2"):
            raise unknown("target", name, ["qkv", "query", "key", "value", "proj", "fc1", "fc2", *TARGET_SETS])
    if not names:
        raise UserError(f"targets {targets!r} name no weight; write for example qkv,proj or 'w/o FF'")
    return tuple(dict.fromkeys(names))


def backbone_names(names: tuple[str, ...], backbone: Backbone) -> tuple[str, ...]:
    """Return the names as this backbone has them (`qkv` stands for query, key and value where they are apart).

    Raises:
        UserError: the backbone has no such weight.
    """
    split = ("query", "key", "value")
    found: list[str] = []
    for name in names:
        parts = split if name == "qkv" and "qkv" not in backbone.weight_names else (name,)
        for part in parts:
            if part not in backbone.weight_names:
                raise UserError(
                    f"target {part!r} matches nothing in backbone {backbone.name!r};"
                    f" its weights are {', '.join(backbone.weight_names)}"
                )
        found.extend(parts)
    return tuple(found)


def initial_mask(init: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a mask's initial values [out, in] (Table 4).

    Raises:
        UserError: the name or its numbers are not understood.
    """
    name, _, rest = init.strip().lower().partition("(")
    try:
        numbers = [float(x) for x in rest.rstrip(")").split(",")] if rest else []
    except ValueError:
        raise UserError(f"mask init {init!r}: {rest!r} are no numbers; write {', '.join(INITS)}") from None
    if not all(math.isfinite(x) for x in numbers):
        raise UserError(f"mask init {init!r} has a number that is not finite")
    mask = torch.empty(shape)
    match name.strip(), numbers:
        case "ones", []:
            return mask.fill_(1.0)
        case "uniform", [low, high] if low <= high:
            return mask.uniform_(low, high, generator=generator) if low < high else mask.fill_(low)
        case "normal", []:
            return mask.normal_(0.0, 0.01, generator=generator)
        case "normal", [std] if std >= 0:
            return mask.normal_(0.0, std, generator=generator)
        case "xavier", []:
            return nn.init.xavier_uniform_(mask, generator=generator)
        case "kaiming", []:
            return nn.init.kaiming_uniform_(mask, a=math.sqrt(5), generator=generator)
    if name.strip() in ("ones", "uniform", "normal", "xavier", "kaiming"):
        raise UserError(f"mask init {init!r} has the wrong numbers; write {', '.join(INITS)} with a <= b and std >= 0")
    raise unknown("mask init", init, INITS)

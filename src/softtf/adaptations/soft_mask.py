"""Soft masks (Soft-TransFormers, section 4): W_t = W * m_t, one real-valued mask per weight, layer and task.

A finished task's masks are quantised: one byte for the deviation of each entry from one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softtf.adaptations.base import ALL_ROWS, Adaptation, AdaptationSpec, Layers, Site, parse_layers
from softtf.adaptations.quantise import Quantised
from softtf.adaptations.quantised import QuantisedAdaptation
from softtf.adaptations.slots import widened
from softtf.adaptations.targets import parse_targets, slot_key, weight_shapes
from softtf.backbones.base import Backbone
from softtf.errors import UserError, unknown

INITS = ("ones", "uniform(a,b)", "normal(std)", "xavier", "kaiming")


@dataclass(frozen=True)
class SoftMask(AdaptationSpec, kind="soft-mask"):
    """A soft mask per task on chosen linear layers.

    Attributes:
        layers: layers counted from 1, as in the paper: `10,11,12`, `10-12`, `all` or a tuple.
        targets: `qkv`, `proj`, `fc1`, `fc2` (several with commas), or the paper's `attn`, `w/o FF`, `w/ FF`.
        init: `ones` (Table 4's Uniform(1.0, 1.0)), `uniform(a,b)` (the published code draws uniform(0.99,1)),
            `normal` or `normal(std)` (std 0.01), `xavier`, `kaiming`.
    """

    layers: Layers = (10, 11, 12)
    targets: str = "w/o FF"
    init: str = "ones"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="soft-mask layers")
        parse_targets(self.targets)
        initial_mask(self.init, torch.Size((2, 2)), torch.Generator())

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the masks for `backbone`, with no task yet."""
        return [SoftMasks(weight_shapes(self.layers, self.targets, backbone, "soft-mask"), self.init)]


class SoftMasks(QuantisedAdaptation):
    """Masks m_t of each target weight's shape; a layer multiplies the frozen weight by them and never writes to it.

    Quantised entries are deviations from one; with `normal`, `xavier` and `kaiming` from zero.
    """

    def __init__(self, shapes: dict[Site, torch.Size], init: str) -> None:
        super().__init__()
        self.shapes, self.init = shapes, init
        self.centre = 1.0 if init.strip().lower().startswith(("ones", "uniform")) else 0.0
        self.weight_sites = frozenset(shapes)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return one mask per target weight."""
        return {slot_key(*site): initial_mask(self.init, shape, generator) for site, shape in self.shapes.items()}

    def mask(self, site: Site, task: int) -> Tensor | Quantised:
        """Return m_t [out, in]: in training its values, quantised if its task is finished."""
        return self.stored(task, slot_key(*site))

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return W * m_t [rows, in]."""
        assert task is not None
        mask = self.mask(site, task)[rows]
        return mask.times(weight) if isinstance(mask, Quantised) else weight * widened(mask.to(weight.device))


def initial_mask(init: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a mask's initial values [out, in] (Table 4).

    Raises:
        UserError: the name or its arguments are unknown.
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

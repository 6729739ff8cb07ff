"""Adapters (Houlsby et al., 2019): a bottleneck per layer and task, y + up(gelu(down(y))), on a sub-layer's output y.

Houlsby's adapters follow the attention and the MLP, before the residual sum (and LayerScale): `after="attention,mlp"`.
The Soft-TransFormers paper counts 6.93M parameters for "Adapter-L[all], r=75" (Table 1) and for "Adapter-L[10,11,12]
w/ FF, r=300" (Table 8). A bottleneck after the MLP alone would have 1.38M in both. One after each of the MLP's two
linear layers, 3072 and 768 wide on ViT-B/16, has 6.91M in both. So the default is `after="fc1,fc2"`. Our biases, for
which the paper's count leaves no room, add 0.05M and 0.01M. Table 8's rows r=1 (0.09M) and r=4 (0.36M) fit this form on
all twelve layers (0.09M, 0.37M), not on the three that the table names.

A new task's adapters start as the identity (`init="identity"`) or near it: as Houlsby's (`houlsby`), or as those of the
Soft-TransFormers code (`soft-tf`), which `dual-prompt+adapter` uses. Unlike in that code, ours have biases and are
trained. That code does not list the names of adapters among the trained ones, so they stay at their initial values.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.base import Adaptation, AdaptationSpec, Layers, Selection, Site, parse_layers
from softtf.adaptations.quantised import QuantisedAdaptation, Rank
from softtf.adaptations.targets import backbone_names, blocks_of, slot_key
from softtf.backbones.base import Backbone
from softtf.backbones.kernels import linear
from softtf.backbones.mixed_linear import MixedWeight, mixed_linear
from softtf.errors import UserError, unknown

Init = Literal["identity", "houlsby", "soft-tf"]
PLACES = {"attention": "proj", "mlp": "fc2", "proj": "proj", "fc1": "fc1", "fc2": "fc2"}


@dataclass(frozen=True)
class Adapter(AdaptationSpec, kind="adapter"):
    """A bottleneck per task after chosen linear layers.

    Attributes:
        layers: layers counted from 1, as in the paper: `10,11,12`, `10-12`, `all` or a tuple.
        rank: width of the bottleneck.
        after: the layers that adapters follow: `attention` (or `proj`), `mlp` (or `fc2`), `fc1`; several with commas.
        init: initial values of a new task's matrices. `identity`: down ~ U(+-1/sqrt(width)), up zero. `houlsby`: both
            ~ N(0, 0.01), truncated at two standard deviations. `soft-tf`: both ~ U(+-1/sqrt(rank width)).
    """

    layers: Layers = (10, 11, 12)
    rank: Rank = 300
    after: str = "fc1,fc2"
    init: Init = "identity"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="adapter layers")
        parse_places(self.after)

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the adapters for `backbone`, with no task yet."""
        blocks = blocks_of(self.layers, backbone, "adapter")
        names = backbone_names(parse_places(self.after), backbone)
        widths = {Site(b, n): backbone.linear(b, n).out_features for b in blocks for n in names}
        return [Adapters(widths, self.rank, self.init)]


class Adapters(QuantisedAdaptation):
    """Down [rank, width], up [width, rank] and their biases after each layer; a mixture mixes all four."""

    def __init__(self, widths: dict[Site, int], rank: int, init: Init) -> None:
        super().__init__()
        self.widths, self.rank, self.init = widths, rank, init
        self.output_sites = frozenset(widths)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return down and up with the values of `init`, and zero biases."""
        slot = {}
        for site, width in self.widths.items():
            key = slot_key(*site)
            slot[f"{key}_down"] = self._started(width, generator)
            slot[f"{key}_down_bias"] = torch.zeros(self.rank)
            up = torch.zeros(self.rank, width) if self.init == "identity" else self._started(width, generator)
            slot[f"{key}_up"] = up.T.contiguous()
            slot[f"{key}_up_bias"] = torch.zeros(width)
        return slot

    def _started(self, width: int, generator: torch.Generator) -> Tensor:
        """Return a matrix [rank, width] with the values of `init`."""
        matrix = torch.empty(self.rank, width)
        if self.init == "houlsby":
            return nn.init.trunc_normal_(matrix, std=0.01, a=-0.02, b=0.02, generator=generator)
        uniform = nn.init.kaiming_uniform_(matrix, sqrt(5), generator=generator)  # +-1/sqrt(width)
        return uniform / sqrt(self.rank) if self.init == "soft-tf" else uniform

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        """Return y + up(gelu(down(y))) for y [batch, tokens, width]."""
        assert selection is not None
        key = slot_key(*site)
        hidden = F.gelu(self._linear(f"{key}_down", y, selection))
        return y + self._linear(f"{key}_up", hidden, selection)

    def _linear(self, name: str, x: Tensor, selection: Selection) -> Tensor:
        if selection.task is not None:
            weight = self.matrix(selection.task, name, x.device)
            return linear(x, weight.to(x.dtype), self.slot(selection.task)[f"{name}_bias"].to(x))
        assert selection.mixture is not None
        shape = self.matrix(0, name, x.device).shape
        mixed = MixedWeight(
            selection.mixture, shape, lambda task, rows: self.matrix(task, name, x.device, rows).detach()
        )
        slots = [self.slot(task) for task in range(self.num_tasks)]
        biases = torch.stack([slot[f"{name}_bias"].to(selection.mixture) for slot in slots])
        return mixed_linear(x, mixed, None) + (selection.mixture @ biases)[:, None].to(x.dtype)


def parse_places(after: str) -> tuple[str, ...]:
    """Turn `mlp`, `attention,mlp` or `fc1,fc2` into the names of the layers that adapters follow.

    Raises:
        UserError: a name is unknown.
    """
    names = [part.strip() for part in after.lower().split(",") if part.strip()]
    for name in names:
        if name not in PLACES:
            raise unknown("place for adapters", name, PLACES)
    if not names:
        raise UserError(f"adapters after {after!r} follow nothing; write for example mlp or fc1,fc2")
    return tuple(dict.fromkeys(PLACES[name] for name in names))

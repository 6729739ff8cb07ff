"""LoRA (Hu et al., 2022): W_t = W + s B_t A_t, a product of two thin matrices per weight, layer and task.

The paper's Tables 1, 7 and 8 put it on query, value and proj of L[10,11,12]: with rank 500 that is 6.91M numbers a
task on ViT-B/16 (the paper says 6.93M), with rank 4 0.055M (0.06M), with rank 24 0.33M (0.32M).

As the Soft-TransFormers code has it: dropout 0.1 on what A reads, and `init="soft-tf"`: A is drawn for all tasks as one
tensor, and so is sqrt(rank) times smaller than LoRA's, and s = 8. `dual-prompt+lora` has these settings.
Beside that code: in the last block the query of [class] has a dropout of its own, as that block computes no other.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softtf.adaptations.base import ALL_ROWS, Adaptation, AdaptationSpec, Layers, Selection, Site, parse_layers
from softtf.adaptations.quantised import QuantisedAdaptation, Rank
from softtf.adaptations.targets import QKV, backbone_names, blocks_of, parse_targets, slot_key
from softtf.backbones.base import Backbone
from softtf.config.bounds import AtLeast, Below, Positive
from softtf.errors import UserError

Init = Literal["lora", "soft-tf"]
SCALES = {"lora": 1.0, "soft-tf": 8.0}  # s of each init, whatever the rank


@dataclass(frozen=True)
class LoRA(AdaptationSpec, kind="lora"):
    """A low-rank increment per task on chosen linear layers.

    Attributes:
        layers: as the paper counts them, from 1: `10,11,12`, `10-12`, `all` or a tuple.
        rank: rows of A and columns of B.
        alpha: the increment is scaled by s = alpha / rank, as in peft; left out, s = 1, or 8 with `init="soft-tf"`.
        targets: `query`, `key`, `value`, `proj`, `fc1`, `fc2`, with commas. `qkv` is the three together: one
            increment where they are one matrix.
        dropout: in training, the share of A's inputs that are set to zero (the others are scaled up).
        init: A starts as U(+-1/sqrt(in)) (`lora`, and peft), or as U(+-1/sqrt(n rank in)) with n the number of
            increments of one matrix (`soft-tf`); B starts as zero.
    """

    layers: Layers = (10, 11, 12)
    rank: Rank = 500
    alpha: Positive | None = None
    targets: str = "query,value,proj"
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.0
    init: Init = "lora"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_layers(self.layers, what="LoRA layers")
        names = parse_targets(self.targets)
        if "qkv" in names and set(QKV) & set(names):
            raise UserError(f"LoRA targets {self.targets!r} name a part of qkv beside the whole; leave one out")

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the increments for `backbone`, with no task yet."""
        blocks = blocks_of(self.layers, backbone, "LoRA")
        return [LoRAs({b: parts_of(parse_targets(self.targets), backbone, b) for b in blocks}, self)]


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` of the weight `whole` [rows, columns], under a name of their own."""

    name: str
    whole: str
    start: int
    stop: int
    rows: int
    columns: int


def parts_of(names: tuple[str, ...], backbone: Backbone, block: int) -> tuple[Part, ...]:
    """Return the parts of a block's weights that `names` mean: `query` may be a third of `qkv`."""
    parts = []
    for name in names:
        third = name in QKV and name not in backbone.weight_names and "qkv" in backbone.weight_names
        for whole in ("qkv",) if third else backbone_names((name,), backbone):
            rows, columns = backbone.linear(block, whole).weight.shape
            size = rows // 3 if third else rows
            start = QKV.index(name) * size if third else 0
            parts.append(Part(name if third else whole, whole, start, start + size, rows, columns))
    return tuple(parts)


class LoRAs(QuantisedAdaptation):
    """A [rank, in] and B [out, rank] for each part of a weight; the frozen weight is added to, never written to.

    In training with dropout the increment runs beside the layer, W x + s B A drop(x); elsewhere it is in the weight.
    """

    def __init__(self, parts: dict[int, tuple[Part, ...]], spec: LoRA) -> None:
        super().__init__()
        self.parts, self.rank, self.init = parts, spec.rank, spec.init
        self.dropout, self.draws_noise = spec.dropout, spec.dropout > 0
        self.scale = SCALES[spec.init] if spec.alpha is None else spec.alpha / spec.rank
        self.weight_sites = frozenset(Site(block, part.whole) for block, own in parts.items() for part in own)
        self.output_sites = self.weight_sites if self.draws_noise else frozenset()

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return A, uniform as `init` says, and B, zero: a new task starts as the frozen backbone."""
        slot = {}
        for block, parts in self.parts.items():
            for part in parts:
                a = torch.empty(self.rank, part.columns)
                a = nn.init.kaiming_uniform_(a, math.sqrt(5), generator=generator)
                if self.init == "soft-tf":
                    a /= math.sqrt(self.rank * sum(other.whole == part.whole for other in parts))
                slot[slot_key(block, part.name) + "_A"] = a
                slot[slot_key(block, part.name) + "_B"] = torch.zeros(part.stop - part.start, self.rank)
        return slot

    def parts_at(self, site: Site) -> list[Part]:
        """Return the parts of a weight that have an increment."""
        return [part for part in self.parts[site.block] if part.whole == site.weight]

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return W + s B A [rows, in], the increment on its own rows of W; W itself where dropout is drawn."""
        if self.noise is not None:
            return weight
        assert task is not None
        for part in self.parts_at(site):
            start, stop, _ = rows.indices(part.rows)
            first, last = max(start, part.start), min(stop, part.stop)
            if first < last:
                key, own = slot_key(site.block, part.name), slice(first - part.start, last - part.start)
                b = self.matrix(task, f"{key}_B", weight.device, own)
                increment = self.scale * (b @ self.matrix(task, f"{key}_A", weight.device))
                weight = weight + F.pad(increment, (0, 0, first - start, stop - last))
        return weight

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        """Return y + s B A drop(x) [batch, tokens, out] where dropout is drawn; elsewhere y itself."""
        return y if self.noise is None else y + self.products(site, x, selection)

    def products(self, site: Site, x: Tensor, selection: Selection | None) -> Tensor:
        """Return the selected increments' products [batch, tokens, out] with x [batch, tokens, in], after dropout."""
        assert selection is not None
        x = self._dropped(x)
        total = x.new_zeros(())
        for task, weight in _shares(selection, len(x)):
            for part in self.parts_at(site):
                key = slot_key(site.block, part.name)
                a, b = (self.matrix(task, f"{key}_{m}", x.device).to(x.dtype) for m in "AB")
                found = self.scale * weight.to(x)[:, None, None] * F.linear(F.linear(x, a), b)
                total = total + F.pad(found, (part.start, part.rows - part.stop))
        return total

    def _dropped(self, x: Tensor) -> Tensor:
        if self.noise is None:
            return x
        kept = torch.empty_like(x, requires_grad=False).bernoulli_(1 - self.dropout, generator=self.noise)
        return x * kept / (1 - self.dropout)


class LoRAsBeside(LoRAs):
    """Increments that always run beside their layers, so that each sample of a batch can have a mixture of its own.

    W x + sum_t alpha_t s B_t A_t x is what the weight W + sum_t alpha_t s B_t A_t would give; no such weight is made.
    """

    reads_query = True

    def __init__(self, parts: dict[int, tuple[Part, ...]], spec: LoRA) -> None:
        super().__init__(parts, spec)
        self.weight_sites, self.output_sites = frozenset(), self.weight_sites

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        """Return y + sum_t alpha_t s B_t A_t x [batch, tokens, out], with weights alpha of each sample's own."""
        return y + self.products(site, x, selection)


def _shares(selection: Selection, batch: int) -> list[tuple[int, Tensor]]:
    """Return the tasks that have a share in any sample, with the shares [batch]."""
    if selection.mixture is None:
        assert selection.task is not None
        return [(selection.task, torch.ones(batch))]
    shares = selection.mixture.unbind(1)
    return [(task, share) for task, share in enumerate(shares) if share.any()]

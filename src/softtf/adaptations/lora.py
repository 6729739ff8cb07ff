"""LoRA (Hu et al., 2022): W_t = W + s B_t A_t, a low-rank product per weight, layer and task.

The paper's Tables 1, 7 and 8 put it on query, value and proj of L[10,11,12]. On ViT-B/16 that is 6.91M parameters per
task with rank 500 (the paper says 6.93M), 0.055M with rank 4 (0.06M), and 0.33M with rank 24 (0.32M).

The Soft-TransFormers code has dropout 0.1 on the input of A, and the values of `init="soft-tf"`: it draws A for all
tasks as one tensor, so A is sqrt(rank) times smaller than LoRA's, and s = 8. `dual-prompt+lora` has these settings. One
thing differs: in the last block the query of [class] has its own dropout, as that block computes no other query.
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
SCALES = {"lora": 1.0, "soft-tf": 8.0}  # s of each init, for any rank


@dataclass(frozen=True)
class LoRA(AdaptationSpec, kind="lora"):
    """A low-rank increment per task on chosen linear layers.

    Attributes:
        layers: layers counted from 1, as in the paper: `10,11,12`, `10-12`, `all` or a tuple.
        rank: rows of A and columns of B.
        alpha: scales the increment by s = alpha / rank, as in peft. Without it s is 1, or 8 with `init="soft-tf"`.
        targets: `query`, `key`, `value`, `proj`, `fc1`, `fc2`, with commas. `qkv` means the first three; it is one
            increment where they are one matrix.
        dropout: in training, the share of A's inputs that is set to zero; the others are scaled up.
        init: initial values of A: U(+-1/sqrt(in)) (`lora`, as in peft), or U(+-1/sqrt(n rank in)), where n is the
            number of increments of one matrix (`soft-tf`). B starts at zero.
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
            raise UserError(f"LoRA targets {self.targets!r} name qkv and a part of it; leave one out")

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the increments for `backbone`, with no task yet."""
        blocks = blocks_of(self.layers, backbone, "LoRA")
        return [LoRAs({b: parts_of(parse_targets(self.targets), backbone, b) for b in blocks}, self)]


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` of the weight `whole` [rows, columns], under their own name."""

    name: str
    whole: str
    start: int
    stop: int
    rows: int
    columns: int


def parts_of(names: tuple[str, ...], backbone: Backbone, block: int) -> tuple[Part, ...]:
    """Return the parts of a block's weights with these names; `query` may be a third of `qkv`."""
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
    """A [rank, in] and B [out, rank] for each part of a weight; the frozen weight is never written to.

    In training with dropout the increment runs beside the layer, W x + s B A drop(x); otherwise it is in the weight.
    """

    def __init__(self, parts: dict[int, tuple[Part, ...]], spec: LoRA) -> None:
        super().__init__()
        self.parts, self.rank, self.init = parts, spec.rank, spec.init
        self.dropout, self.draws_noise = spec.dropout, spec.dropout > 0
        self.scale = SCALES[spec.init] if spec.alpha is None else spec.alpha / spec.rank
        self.weight_sites = frozenset(Site(block, part.whole) for block, own in parts.items() for part in own)
        self.output_sites = self.weight_sites if self.draws_noise else frozenset()

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return A with the values of `init`, and B zero, so that a new task starts as the frozen backbone."""
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
        """Return W + s B A [rows, in], with the increment on its rows of W; W itself if dropout is drawn."""
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
        """Return y + s B A drop(x) [batch, tokens, out] if dropout is drawn; otherwise y itself."""
        return y if self.noise is None else y + self.products(site, x, selection)

    def products(self, site: Site, x: Tensor, selection: Selection | None) -> Tensor:
        """Return the selected increments' products with x [batch, tokens, in] after dropout, [batch, tokens, out]."""
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
    """Increments that always run beside their layers, so that each sample of a batch can have its own mixture.

    W x + sum_t alpha_t s B_t A_t x equals the output of the weight W + sum_t alpha_t s B_t A_t, which is never formed.
    """

    reads_query = True

    def __init__(self, parts: dict[int, tuple[Part, ...]], spec: LoRA) -> None:
        super().__init__(parts, spec)
        self.weight_sites, self.output_sites = frozenset(), self.weight_sites

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        """Return y + sum_t alpha_t s B_t A_t x [batch, tokens, out], with each sample's own weights alpha."""
        return y + self.products(site, x, selection)


def _shares(selection: Selection, batch: int) -> list[tuple[int, Tensor]]:
    """Return the tasks with a share in any sample, and their shares [batch]."""
    if selection.mixture is None:
        assert selection.task is not None
        return [(selection.task, torch.ones(batch))]
    shares = selection.mixture.unbind(1)
    return [(task, share) for task, share in enumerate(shares) if share.any()]

"""What an adaptation is: per-task parameters that change a frozen backbone without touching its weights.

An adaptation comes in two parts. The *spec* (a frozen dataclass such as `SoftMask(layers=(10, 11, 12))`) is
what users write and recipes store. Its `build(backbone)` gives the *adaptation*, which holds one slot of
parameters per task and declares its *sites*: the weights that it replaces, and the layers whose outputs it
changes. Prompts are hooks of their own: keys and values before a block's, or tokens beside the input's.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softtf.adaptations.slots import TaskSlots
from softtf.backbones.base import Backbone
from softtf.config.bounds import whole_number
from softtf.config.tree import Spec
from softtf.errors import UserError
from softtf.seeds import derive_seed

Layers = str | tuple[int, ...]
MOST_LAYERS = 10_000
ALL_ROWS = slice(None)


class Site(NamedTuple):
    """A linear layer of the backbone: its block (from 0) and the canonical name of its weight."""

    block: int
    weight: str


@dataclass(frozen=True)
class Selection:
    """Which task's network to run.

    Exactly one of: task (an index), or mixture, alpha [batch, tasks] with rows on the simplex: the superposed
    network. Where a weight is mixed, all rows must be equal; an `output` hook takes rows that differ. `prompts` [batch]
    gives each sample the prompts of one task in place of mixed ones. `query` is q(x) [batch, dim], if it `reads_query`.
    """

    task: int | None = None
    mixture: Tensor | None = None
    prompts: Tensor | None = None
    query: Tensor | None = None

    def __post_init__(self) -> None:
        assert (self.task is None) != (self.mixture is None)


class AdaptationSpec(Spec, family="adaptation"):
    """Base of all adaptation specs; a new one in a user's own file registers itself by its `kind`."""

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Refuse a `store` of an adaptation's own that an earlier version had; raises UserError."""
        if "store" in settings and "store" not in getattr(cls, "__dataclass_fields__", {}):
            raise UserError("an adaptation has no store now; the learner's `storage` is that of all its parts")
        return settings

    @abstractmethod
    def build(self, backbone: Backbone) -> "list[Adaptation]":
        """Attach to `backbone`: return adaptations with no task yet.

        Raises:
            UserError: a layer or target does not exist in this backbone.
        """


class Adaptation(TaskSlots):
    """Per-task (and shared) parameters that edit blocks of a frozen backbone.

    A subclass sets its sites before an `AdaptedNetwork` is made of it; the network reads them once.

    Attributes:
        weight_sites: whose weight it replaces (`weight`).
        output_sites: whose layer's output it changes (`output`). A site in both is edited in one way at a time: the
            hook that is not in use returns its argument.
        shared_blocks: the blocks (from 0) that parameters of all tasks touch.
        reads_query: whether what it does, or what a learner does with the trunk's tokens, depends on the query.
        draws_noise: whether it draws random numbers, such as dropout's, while a task is trained.
        noise: what it draws them from (`drawing_noise`); None outside training.
    """

    weight_sites: frozenset[Site] = frozenset()
    output_sites: frozenset[Site] = frozenset()
    shared_blocks: frozenset[int] = frozenset()
    reads_query: bool = False
    draws_noise: bool = False
    noise: torch.Generator | None = None

    @property
    def task_blocks(self) -> frozenset[int]:
        """The blocks (from 0) that per-task parameters touch: by default those of its sites that are not shared."""
        return frozenset(site.block for site in self.sites) - self.shared_blocks

    @property
    def sites(self) -> frozenset[Site]:
        """All layers that it edits."""
        return self.weight_sites | self.output_sites

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return what replaces a weight at one of `weight_sites`.

        Args:
            site: the layer.
            weight: [rows, in]: the rows `rows` of the frozen weight, as the adaptations before this one left them.
            task: whose; None for the weight that all tasks share.
            rows: which rows of the whole weight are wanted.

        Returns:
            [rows, in]; `weight` itself if nothing changes.
        """
        raise NotImplementedError(f"{type(self).__name__} has weight_sites and no method `weight`")

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        """Return what replaces a layer's output at one of `output_sites`: f(y) after the layer, y + g(x) beside it.

        Args:
            site: the layer.
            x: its input [batch, tokens, in].
            y: its output [batch, tokens, out], as the adaptations before this one left it.
            selection: for which task; a mixture mixes parameters. None below the first block that depends on the task.

        Returns:
            [batch, tokens, out]; `y` itself if nothing changes.
        """
        raise NotImplementedError(f"{type(self).__name__} has output_sites and no method `output`")

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return keys and values [batch or 1, 2, length, dim] to put before a block's own, if any.

        `selection` is None below the first block that depends on the task.
        """
        return None

    def gate(self, block: int, selection: Selection | None) -> Callable[[Tensor], Tensor] | None:
        """Return what is added to the scores [batch, heads, tokens, length] of a prefix's keys, of them, if anything.

        `selection` is None below the first block that depends on the task.
        """
        return None

    def prepended(self, query: Tensor | None) -> Tensor | None:
        """Return tokens [batch, length, dim] to put before the embedded ones, if any; block 0 is then a shared one.

        `query` is q(x) [batch, dim], or None if no adaptation reads it.
        """
        return None

    def appended(self, selection: Selection | None) -> Tensor | None:
        """Return tokens [1, length, dim] to put behind others, if any.

        `selection` is None for those behind the embedded ones, block 0 being then a shared one; the others go behind
        what enters the first block that depends on the task.
        """
        return None


@contextmanager
def drawing_noise(module: nn.Module, seed: int) -> Iterator[None]:
    """Let adaptations in a module that train with noise (LoRA's dropout) draw it meanwhile; otherwise there is none."""
    device = next(module.parameters()).device
    noisy = [part for part in module.modules() if isinstance(part, Adaptation) and part.draws_noise]
    for number, adaptation in enumerate(noisy):
        adaptation.noise = torch.Generator(device).manual_seed(derive_seed(seed, number))
    try:
        yield
    finally:
        for adaptation in noisy:
            adaptation.noise = None


@dataclass(frozen=True)
class NoAdaptation(AdaptationSpec, kind="none"):
    """Nothing besides the prompts."""

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return no adaptation."""
        return []


@dataclass(frozen=True)
class Compose(AdaptationSpec, kind="compose"):
    """Several adaptations at once; those that edit the same weight are applied in the order given."""

    parts: tuple[AdaptationSpec, ...] = ()

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Build every part."""
        return [adaptation for part in self.parts for adaptation in part.build(backbone)]


def parse_layers(layers: Layers, depth: int | None = None, what: str = "layers") -> tuple[int, ...]:
    """Turn layers as people write them into blocks counted from 0.

    Accepts what the paper writes, counted from 1: `10,11,12`, `10-12`, `1-2,5`, `L[10,11,12]`, `all`, `none`,
    or a tuple of integers.

    Raises:
        UserError: not a layer list, a layer below 1 or (with `depth`) beyond the last, or one named twice.
    """
    if not isinstance(layers, str):
        numbers = list(layers)
        if not all(type(number) is int for number in numbers):
            raise UserError(f"{what}: {layers!r} has an entry that is no integer; write (10, 11, 12) or '10-12'")
    else:
        text = layers.strip().lower().removeprefix("l").strip("[]() ")
        if text == "all":
            if depth is None:
                return ()
            numbers = list(range(1, depth + 1))
        else:
            numbers = [] if text in ("", "none") else _numbers(text, layers, what)
    for number in numbers:
        if number < 1 or (depth is not None and number > depth):
            last = "" if depth is None else f"; this backbone has layers 1 to {depth}"
            raise UserError(f"{what}: there is no layer {number} in {layers!r}{last} (layers are counted from 1)")
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{what}: a layer is named twice in {layers!r}")
    return tuple(sorted(number - 1 for number in numbers))


def _numbers(text: str, layers: Layers, what: str) -> list[int]:
    numbers: list[int] = []
    for part in text.replace(" ", ",").split(","):
        first, dash, last = part.partition("-")
        if not part:
            continue
        start, stop = whole_number(first), whole_number(last if dash else first)
        if start is None or stop is None:
            raise UserError(f"{what}: {part!r} in {layers!r} is no layer; write 10,11,12 or 10-12 or all")
        if max(start, stop) > MOST_LAYERS:
            raise UserError(f"{what}: {part!r} in {layers!r} is beyond any backbone's last layer")
        if stop < start:
            raise UserError(f"{what}: the range {part!r} in {layers!r} runs backwards; write {last}-{first}")
        numbers.extend(range(start, stop + 1))
    return numbers


def stack_slots(adaptation: TaskSlots, name: str) -> Tensor:
    """Return every task's value of one parameter, [tasks, ...]."""
    return torch.stack([adaptation.value(task, name) for task in range(adaptation.num_tasks)])

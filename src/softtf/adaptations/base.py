"""The base of adaptations: per-task parameters that change a frozen backbone without touching its weights.

An adaptation has two parts. The *spec*, a frozen dataclass such as `SoftMask(layers=(10, 11, 12))`, is what users
write and recipes store. Its `build(backbone)` returns the *adaptation*, which holds one slot of parameters per task and
declares its *sites*: the weights that it replaces, and the layers whose outputs it changes. Prompts have their own
hooks: keys and values before a block's, or tokens beside the input's.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
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
    """The task whose network runs.

    Exactly one of two is set: task (an index), or mixture, alpha [batch, tasks] with rows on the simplex, for the
    superposed network. Where a weight is mixed, all rows must be equal; an `output` hook accepts rows that differ.
    `prompts` [batch] gives each sample the prompts of one task instead of mixed ones. `query` is q(x) [batch, dim],
    if the adaptation `reads_query`. `among` [batch, k]: where a weight is mixed, the tasks whose share of the mixture
    gets a gradient from a sample; None for all. `even`: whether all entries of the mixture are equal.
    """

    task: int | None = None
    mixture: Tensor | None = None
    prompts: Tensor | None = None
    query: Tensor | None = None
    among: Tensor | None = None
    even: bool = False

    def __post_init__(self) -> None:
        assert (self.task is None) != (self.mixture is None)


class AdaptationSpec(Spec, family="adaptation"):
    """Base of all adaptation specs; one in a user's own file registers itself by its `kind`."""

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Refuse `store`, which adaptations had in an earlier version; raises UserError."""
        if "store" in settings and "store" not in getattr(cls, "__dataclass_fields__", {}):
            raise UserError("an adaptation has no store now; the learner's `storage` holds for all its adaptations")
        return settings

    @abstractmethod
    def build(self, backbone: Backbone) -> "list[Adaptation]":
        """Return the adaptations for `backbone`, with no task yet.

        Raises:
            UserError: a layer or target does not exist in this backbone.
        """


class Adaptation(TaskSlots):
    """Per-task (and shared) parameters that edit blocks of a frozen backbone.

    A subclass sets its sites before it is part of an `AdaptedNetwork`, which reads them once.

    Attributes:
        weight_sites: sites whose weight it replaces (`weight`).
        output_sites: sites whose layer's output it changes (`output`). A site in both is edited in one way at a time:
            the hook that is not in use returns its argument.
        shared_blocks: the blocks (from 0) that parameters shared by all tasks edit.
        reads_query: whether the adaptation, or a learner that reads the trunk's tokens, needs the query.
        draws_noise: whether it draws random numbers, such as dropout's, in training.
        noise: the source of these numbers (`drawing_noise`); None outside training.
    """

    weight_sites: frozenset[Site] = frozenset()
    output_sites: frozenset[Site] = frozenset()
    shared_blocks: frozenset[int] = frozenset()
    reads_query: bool = False
    draws_noise: bool = False
    noise: torch.Generator | None = None

    @property
    def task_blocks(self) -> frozenset[int]:
        """The blocks (from 0) that per-task parameters edit; by default those of its sites that are not shared."""
        return frozenset(site.block for site in self.sites) - self.shared_blocks

    @property
    def sites(self) -> frozenset[Site]:
        """All sites that it edits."""
        return self.weight_sites | self.output_sites

    def use(self, tasks: Sequence[int], device: torch.device) -> None:  # noqa: B027 - few can stay on disk
        """Get ready to run the networks of these tasks on a device; most adaptations need nothing."""

    def weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return the replacement of a weight at one of `weight_sites`.

        Args:
            site: the layer.
            weight: [rows, in]: the rows `rows` of the frozen weight, as the adaptations before this one left them.
            task: the task; None for the weight that all tasks share.
            rows: the rows of the whole weight that are wanted.

        Returns:
            [rows, in]; `weight` itself if nothing changes.
        """
        raise NotImplementedError(f"{type(self).__name__} has weight_sites and no method `weight`")

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Selection | None) -> Tensor:
        """Return the replacement of a layer's output at one of `output_sites`: f(y), or y + g(x).

        Args:
            site: the layer.
            x: its input [batch, tokens, in].
            y: its output [batch, tokens, out], as the adaptations before this one left it.
            selection: the task; a mixture mixes parameters. None below the first block that depends on the task.

        Returns:
            [batch, tokens, out]; `y` itself if nothing changes.
        """
        raise NotImplementedError(f"{type(self).__name__} has output_sites and no method `output`")

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return keys and values [batch or 1, 2, length, dim] to put before a block's own; None for none.

        `selection` is None below the first block that depends on the task.
        """
        return None

    def gate(self, block: int, selection: Selection | None) -> Callable[[Tensor], Tensor] | None:
        """Return a function of the scores [batch, heads, tokens, length] of a prefix's keys, to add to them; or None.

        `selection` is None below the first block that depends on the task.
        """
        return None

    def prepended(self, query: Tensor | None) -> Tensor | None:
        """Return tokens [batch, length, dim] to put before the embedded ones, or None; block 0 is then shared.

        `query` is q(x) [batch, dim], or None if no adaptation reads it.
        """
        return None

    def appended(self, selection: Selection | None) -> Tensor | None:
        """Return tokens [1, length, dim] to put after the others, or None.

        With `selection` None they follow the embedded tokens, and block 0 is then shared. Otherwise they follow the
        input of the first block that depends on the task.
        """
        return None


@contextmanager
def drawing_noise(module: nn.Module, seed: int) -> Iterator[None]:
    """Within the block, adaptations that train with noise (LoRA's dropout) draw it; elsewhere there is none."""
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
    """Nothing but the prompts."""

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return no adaptation."""
        return []


@dataclass(frozen=True)
class Compose(AdaptationSpec, kind="compose"):
    """Several adaptations at once; those of the same weight are applied in the order given.

    Attributes:
        parts: the adaptations.
    """

    parts: tuple[AdaptationSpec, ...] = ()

    def build(self, backbone: Backbone) -> list[Adaptation]:
        """Return the adaptations of all parts."""
        return [adaptation for part in self.parts for adaptation in part.build(backbone)]


def parse_layers(layers: Layers, depth: int | None = None, what: str = "layers") -> tuple[int, ...]:
    """Turn layers in any notation into blocks counted from 0.

    Accepts the paper's notation, counted from 1: `10,11,12`, `10-12`, `1-2,5`, `L[10,11,12]`, `all`, `none`, or a tuple
    of integers.

    Raises:
        UserError: a layer is not a number, is below 1 or (with `depth`) beyond the last, or is named twice.
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

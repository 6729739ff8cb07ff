"""What an adaptation is: per-task parameters that change a frozen backbone without touching its weights.

An adaptation comes in two parts. The *spec* (a frozen dataclass such as `SoftMask(layers=(10, 11, 12))`) is
what users write and recipes store. Its `build(backbone)` gives the *adaptation*, which holds one slot of
parameters per task and says how blocks change: by an effective weight in place of a frozen one, by a module
after a frozen layer, or by prefix keys and values.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.adaptations.slots import TaskSlots
from softtf.backbones.base import Backbone
from softtf.config.tree import Spec
from softtf.errors import UserError

Layers = str | tuple[int, ...]
MOST_LAYERS = 10_000
ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Selection:
    """Which task's network to run.

    Exactly one of: task (an index), or mixture, alpha [batch, tasks] with rows on the simplex: the superposed
    network; the rows must be equal, but for what stands beside a layer. `prompts` [batch] gives each sample the
    prompts of one task in place of mixed ones.
    """

    task: int | None = None
    mixture: Tensor | None = None
    prompts: Tensor | None = None

    def __post_init__(self) -> None:
        assert (self.task is None) != (self.mixture is None)


class AdaptationSpec(Spec, family="adaptation"):
    """Base of all adaptation specs; a new one in a user's own file registers itself by its `kind`."""

    @abstractmethod
    def build(self, backbone: Backbone) -> "list[Adaptation]":
        """Attach to `backbone`: return adaptations with no task yet.

        Raises:
            UserError: a layer or target does not exist in this backbone.
        """


class Adaptation(TaskSlots):
    """Per-task (and shared) parameters that edit blocks of a frozen backbone.

    task_blocks: the blocks (from 0) that per-task parameters touch. shared_blocks: those that shared ones touch.
    reads_query: whether what it does, or what a learner does with the trunk's tokens, depends on the query.
    noise: what dropout is drawn from while a task is trained (`Learner.drawing_noise`); None: there is none.
    beside_in_training: whether it stands beside the weights that it edits while there is noise.
    """

    task_blocks: frozenset[int] = frozenset()
    shared_blocks: frozenset[int] = frozenset()
    reads_query: bool = False
    noise: torch.Generator | None = None
    beside_in_training: bool = False

    @property
    def stores_bytes(self) -> bool:
        """Whether finished tasks are kept in about a byte a number, so that larger ones beside them show."""
        return False

    def edits_weight(self, block: int, name: str) -> bool:
        """Say whether this adaptation puts another weight in place of `name` in `block`."""
        return False

    def weight(self, block: int, name: str, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        """Return rows `rows` of task `task`'s weight, made from those of the weight before it; for None the one shared.

        weight: [rows, in], cut already.
        """
        raise AssertionError("only adaptations that edit weights are asked for one")

    def follows(self, block: int, name: str) -> bool:
        """Say whether this adaptation puts a module of its own after layer `name` in `block`."""
        return False

    def after(self, block: int, name: str, x: Tensor, selection: Selection) -> Tensor:
        """Return what takes the place of the layer's output x [batch, tokens, out]; a mixture mixes parameters."""
        raise AssertionError("only adaptations that follow a layer are given its output")

    def runs_beside(self, block: int, name: str) -> bool:
        """Say whether this adaptation puts a branch of its own beside layer `name` in `block`."""
        return False

    def beside(self, block: int, name: str, x: Tensor, selection: Selection) -> Tensor:
        """Return what is added to the layer's output, [batch, tokens, out], from its input x [batch, tokens, in]."""
        raise AssertionError("only adaptations that run beside a layer are given its input")

    def prefix(self, block: int, selection: Selection | None) -> Tensor | None:
        """Return keys and values [batch or 1, 2, length, dim] to put before a block's own, if any.

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
    if isinstance(layers, int):
        layers = (layers,)
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
        if not first.isdecimal() or (dash and not last.isdecimal()):
            if part:
                raise UserError(f"{what}: {part!r} in {layers!r} is no layer; write 10,11,12 or 10-12 or all")
            continue
        if max(int(first), int(last or 0)) > MOST_LAYERS:
            raise UserError(f"{what}: {part!r} in {layers!r} is beyond any backbone's last layer")
        if dash and int(last) < int(first):
            raise UserError(f"{what}: the range {part!r} in {layers!r} runs backwards; write {last}-{first}")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def stack_slots(adaptation: TaskSlots, name: str) -> Tensor:
    """Return every task's value of one parameter, [tasks, ...]."""
    return torch.stack([adaptation.value(task, name) for task in range(adaptation.num_tasks)])

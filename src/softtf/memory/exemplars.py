"""Exemplars as tensors: examples of any sizes in one vector of values, to be saved with a learner's memory."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from softtf.files.tensor_form import INTEGERS, TensorForm, size_bounds


def concatenate(name: str, examples: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return examples as `name.values` [all values] and `name.shapes` [n, dimensions]; without examples, nothing.

    Args:
        name: the start of the two keys.
        examples: tensors on the CPU with one type and one number of dimensions; their sizes may differ.
    """
    if not examples:
        return {}
    values = torch.cat([example.reshape(-1) for example in examples])
    return {f"{name}.values": values, f"{name}.shapes": torch.tensor([example.shape for example in examples])}


def concatenated_forms(name: str, count: str, example: TensorForm) -> dict[str, TensorForm]:
    """Return the forms of what `concatenate` gives of examples of one form.

    Args:
        name: the start of the two keys.
        count: the word for the number of examples (`TensorForm.shape`).
        example: the form of each.
    """

    def fit(shapes: Tensor, others: Mapping[str, Tensor]) -> bool:
        for sizes, size in zip(shapes.unbind(1), example.shape, strict=True):
            least, most = size_bounds(size)
            if not least <= int(sizes.min()) <= int(sizes.max()) <= most:
                return False
        return float(shapes.double().prod(1).sum()) == len(others[f"{name}.values"])  # in float64 nothing overflows

    values = TensorForm((f"values of {name}",), example.types, example.least, example.most)
    shapes = TensorForm((count, len(example.shape)), INTEGERS, 1, rule=fit, words="the sizes of examples in the values")
    return {f"{name}.values": values, f"{name}.shapes": shapes}


def separate(name: str, memory: Mapping[str, Tensor], rows: Tensor | None = None) -> list[Tensor]:
    """Return the examples that `concatenate` put under `name`, or those at `rows` [m], as views without copies.

    The cost grows with the examples that are asked for, not with all of them, so that a small replay is cheap.
    """
    if f"{name}.shapes" not in memory:
        return []
    shapes, values = memory[f"{name}.shapes"], memory[f"{name}.values"]
    sizes = shapes.prod(1)
    starts = sizes.cumsum(0) - sizes
    if rows is not None:
        shapes, sizes, starts = shapes[rows], sizes[rows], starts[rows]
    places = zip(starts.tolist(), sizes.tolist(), shapes.tolist(), strict=True)
    return [values[start : start + size].view(shape) for start, size, shape in places]


class OnDevice:
    """Copies of a learner's memory on the device where it computes, each made once until the memory changes.

    Tensors of the memory are replaced, never changed in place (`Learner.memory`), so that a new tensor tells a change.
    """

    def __init__(self) -> None:
        self._copies: dict[str, tuple[Tensor, Tensor]] = {}

    def __deepcopy__(self, memo: object) -> "OnDevice":
        return OnDevice()

    def get(self, name: str, memory: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return `memory[name]` on the device of `like`, and in its type if it holds floats."""
        kept = memory[name]
        original, copy = self._copies.get(name, (None, kept))
        dtype = like.dtype if kept.is_floating_point() else kept.dtype
        if original is not kept or copy.device != like.device or copy.dtype != dtype:
            copy = kept.to(like.device, dtype)
            self._copies[name] = (kept, copy)
        return copy

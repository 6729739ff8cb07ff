"""What saved tensors must be: declared by whoever saves them, and checked when they are read.

Hashes find damage, not lies: whoever changes a file can change its hash too. So a file that anyone may have made is
checked against forms before its tensors are used.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.errors import UserError

LISTED, LONGEST_NAME = 20, 100  # in messages: names, and characters of a name
REAL_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
FLOATS = REAL_TYPES[:2]
INTEGERS = (torch.int64,)

Size = int | range | str


@dataclass(frozen=True)
class TensorForm:
    """What a saved tensor must be; real numbers must be finite whatever the form.

    Attributes:
        shape: for each dimension its size; or a range of sizes; or a word: any size from 1, the same for each use of
            the word in forms that are checked together.
        types: the types that it may have.
        least: the least value.
        most: the largest value.
        equal: all values, where something else determines them.
        rule: whether the tensor fits in other respects; it is also given all tensors that are checked together.
        words: the rule in words, for the message.
    """

    shape: tuple[Size, ...] = ()
    types: tuple[torch.dtype, ...] = FLOATS
    least: float = -math.inf
    most: float = math.inf
    equal: Tensor | None = None
    rule: Callable[[Tensor, Mapping[str, Tensor]], bool] | None = None
    words: str = ""


Forms = Mapping[str, TensorForm]


def form_like(tensor: Tensor, exact: bool = False) -> TensorForm:
    """Return the form of a tensor with the shape and the type of another.

    Args:
        tensor: the other one.
        exact: whether floats must have the same type too; otherwise any float type does.
    """
    real = tensor.dtype in REAL_TYPES and not exact
    return TensorForm(tuple(tensor.shape), (tensor.dtype, *REAL_TYPES) if real else (tensor.dtype,))


def in_runs(size: Size, count: int) -> TensorForm:
    """Return the form of the indices 0 ... count - 1, int64 [size]: each at least once, in ascending order."""

    def rule(indices: Tensor, _: Mapping[str, Tensor]) -> bool:
        return torch.equal(indices.unique_consecutive(), torch.arange(count))

    return TensorForm((size,), INTEGERS, rule=rule, words=f"each of 0 ... {count - 1}, in ascending order")


def size_bounds(size: Size) -> tuple[int, int]:
    """Return the least and the largest size that a dimension of a form may have."""
    if isinstance(size, range):
        return size.start, size.stop - 1
    return (1, 2**62) if isinstance(size, str) else (size, size)


def check_forms(tensors: Mapping[str, Tensor], forms: Forms, where: str, start: str = "") -> None:
    """Refuse tensors that are not what their forms say; no name may be missing, and none be unknown.

    Args:
        tensors: what was read.
        forms: what it must be.
        where: what messages call the source, such as the file.
        start: in messages, what the names begin with.

    Raises:
        UserError: the first tensor that differs, and how.
    """
    for name in sorted(forms.keys() - tensors.keys()):
        shape = _shape(forms[name], {})
        raise UserError(f"{where}: {start + name!r} is missing; expected shape {shape}, found {_listed(tensors)}")
    for name in sorted(tensors.keys() - forms.keys()):
        raise UserError(f"{where}: {_short(start + name)!r} is not expected here; expected {_listed(forms)}")
    sizes: dict[str, int] = {}
    for name, form in forms.items():
        if problem := _shape_problem(tensors[name], form, sizes) or _value_problem(tensors[name], form):
            raise UserError(f"{where}: {start + name!r} {problem}")
    for name, form in forms.items():
        if form.rule and not form.rule(tensors[name], tensors):
            raise UserError(f"{where}: {start + name!r} has other values than it can have; expected {form.words}")


def require(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], where: str, exact: bool = False) -> None:
    """Refuse tensors that have not the names, shapes and types of others; arguments are as for `form_like`."""
    check_forms(tensors, {name: form_like(tensor, exact) for name, tensor in like.items()}, where)


def _shape_problem(tensor: Tensor, form: TensorForm, sizes: dict[str, int]) -> str:
    """Return how a tensor's shape or type differs; a word of the form that is not in `sizes` yet is put there."""
    found = list(tensor.shape)
    wanted = _shape(form, sizes)
    if len(found) != len(form.shape):
        return f"has shape {found}, expected {wanted}"
    for size, expected in zip(found, form.shape, strict=True):
        if isinstance(expected, str):
            expected = sizes.setdefault(expected, size) if size else expected
        least, most = size_bounds(expected)
        if not least <= size <= most:
            return f"has shape {found}, expected {wanted}"
    if tensor.dtype not in form.types:
        return f"has type {tensor.dtype}, expected {form.types[0]}"
    return ""


def _value_problem(tensor: Tensor, form: TensorForm) -> str:
    """Return how a tensor's values differ, the shape and the type being right."""
    if tensor.is_floating_point() and not tensor.isfinite().all():
        kind = "NaN" if tensor.isnan().any() else "infinite"
        count = int((tensor.isnan() if kind == "NaN" else tensor.isinf()).sum())
        return f"has {count} {kind} of {tensor.numel()}, expected none"
    if form.equal is not None and not torch.equal(tensor, form.equal):
        return "has other values than it can have; they follow from the rest of the learner"
    if not tensor.numel() or (form.least == -math.inf and form.most == math.inf):
        return ""
    least, most = tensor.min().item(), tensor.max().item()
    if form.least <= least and most <= form.most:
        return ""
    return f"has the value {least if least < form.least else most}, expected from {form.least} to {form.most}"


def _shape(form: TensorForm, sizes: Mapping[str, int]) -> str:
    """Return a form's shape for a message, with the sizes that words have."""
    known = (str(sizes.get(size, size)) if isinstance(size, str) else size for size in form.shape)
    shown = (f"{size.start} to {size.stop - 1}" if isinstance(size, range) else str(size) for size in known)
    return f"[{', '.join(shown)}]"


def _listed(names: Iterable[str]) -> str:
    """Return names for a message: the first few, each cut to LONGEST_NAME."""
    shown = [_short(name) for name in sorted(names)]
    more = [f"and {len(shown) - LISTED} more"] if len(shown) > LISTED else []
    return ", ".join(shown[:LISTED] + more) or "nothing"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."

"""The processes of one run on several devices. `torchrun` or `accelerate launch` starts them, accelerate connects them.

All processes run the same program from the same seeds and hold the same learner. They divide the rows of each training
batch, the batches of frozen features, the sums of closed forms and the batches of test samples. After each they add up
what they found, so that all know the whole. Everything else each of them does alike. Only the first writes and shows.

Without `join` there is one process, and all functions here return what they are given.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from softtf.devices.launch import launched
from softtf.devices.memory import is_shortage
from softtf.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """This process among those of the run: its number, how many there are, and its device."""

    number: int = 0
    count: int = 1
    device: str = "cpu"
    sends_from_device: bool = False  # NCCL sends what lies on a GPU, gloo what lies in memory


_group = Group()


class LostProcessError(UserError):
    """Another process of the run has ended, so that this one cannot go on."""


def is_first() -> bool:
    """Return whether this is the process that writes."""
    return _group.number == 0


def count() -> int:
    """Return how many processes have joined; 1 without a launcher."""
    return _group.count


def device() -> str | None:
    """Return the device of this process; None if there is one process."""
    return _group.device if _group.count > 1 else None


def join(asked: str = "auto") -> None:
    """Connect this process with the others that the launcher started; without a launcher do nothing.

    Args:
        asked: the device that the settings name. `cpu` connects by gloo; `auto` and `cuda` give each process a device
            of its own, if there are any.

    Raises:
        UserError: accelerate is not installed, or a process cannot have this device.
    """
    global _group
    if launched() == 1 or _group.count > 1:
        return
    try:
        from accelerate import PartialState
    except ImportError:
        raise UserError(
            f"this is one of {launched()} processes of a run, which accelerate connects, and it is not installed:"
            " `pip install 'softtf[devices]'`, or start softtf without torchrun"
        ) from None
    import torch

    if ":" in asked:
        raise UserError(f"device {asked!r} is for one process; give auto or cpu, and each process has its own device")
    with _lost():
        state = PartialState(cpu=asked == "cpu" or not torch.accelerator.is_available())
    if state.num_processes != launched():
        raise UserError(f"{launched()} processes were started, but accelerate connects none on {asked!r}; give cpu")
    _group = Group(state.process_index, state.num_processes, str(state.device), state.device.type != "cpu")


def leave() -> None:
    """Disconnect at the end of the command."""
    global _group
    if _group.count > 1:
        from accelerate import PartialState

        _group = Group()
        PartialState().destroy_process_group()


def mine(items: Iterable[T]) -> list[T]:
    """Return the items that this process does: every `count`-th."""
    return list(items)[_group.number :: _group.count]


def own_rows(rows: int) -> slice:
    """Return which of `rows` rows this process takes: a run of them, equally many up to one; at least one row.

    Where there are fewer rows than processes, the last processes take a row whose `share` is 0.
    """
    first, last = _bounds(rows)
    return slice(first, last) if last > first else slice(0, 1)


def share(rows: int) -> float:
    """Return the share of `rows` rows that this process takes (`own_rows`); those of all processes add up to 1."""
    first, last = _bounds(rows)
    return (last - first) / rows


def _bounds(rows: int) -> tuple[int, int]:
    return rows * _group.number // _group.count, rows * (_group.number + 1) // _group.count


def summed(tensor: "Tensor") -> "Tensor":
    """Return the sum of all processes' tensors, in their type; each gives one of the same shape and type.

    Raises:
        LostProcessError: another process has ended.
    """
    return _exchanged(tensor, lambda by, sent: by.reduce(sent, reduction="sum"))


def mean(*values: float) -> list[float]:
    """Return the mean over processes of each value, such as the seconds of a part that they divide.

    Raises:
        LostProcessError: another process has ended.
    """
    if _group.count == 1:
        return list(values)
    import torch

    found: list[float] = (summed(torch.tensor(values, dtype=torch.float64)) / _group.count).tolist()
    return found


def given(tensor: "Tensor") -> "Tensor":
    """Return the first process's tensor; the others give one of the same shape and type.

    Raises:
        LostProcessError: another process has ended.
    """
    return _exchanged(tensor, lambda by, sent: by.broadcast(sent.clone()))  # which it overwrites


def told(value: Any) -> Any:
    """Return what the first process says, as JSON; the others' value is not used.

    Raises:
        LostProcessError: another process has ended.
    """
    if _group.count == 1:
        return value
    import torch

    text = json.dumps(value if _group.number == 0 else None).encode()
    length = int(given(torch.tensor(len(text))))
    return json.loads(bytes(given(torch.tensor([*text[:length].ljust(length)], dtype=torch.uint8)).tolist()))


def wait() -> None:
    """Wait until all processes are here.

    Raises:
        LostProcessError: another process has ended.
    """
    told(None)


def check_alike(what: str, find: Callable[[], Any]) -> None:
    """Refuse processes that differ in something that all must have alike.

    Args:
        what: named in the message.
        find: returns it, or its checksum, as what JSON can write; it is called if there are several processes.

    Raises:
        UserError: they differ from the first process's.
    """
    if _group.count == 1:
        return
    import torch

    digest = hashlib.sha256(json.dumps(find()).encode()).digest()
    found = torch.tensor([*digest], dtype=torch.uint8)
    differ = torch.tensor(int(not torch.equal(found, given(found))))
    if int(summed(differ)):
        raise UserError(f"{what} differ between the processes of this run; give them the same, or run in one process")


def together(
    batches: Sequence[Sequence[int]], compute: Callable[[list[Sequence[int]]], Iterable["Tensor"]]
) -> "Tensor":
    """Return a result for each row of all batches, [rows, ...] in their order; each process computes some batches.

    Args:
        batches: each a sequence as long as its result.
        compute: yields the result [len(batch), ...] of each of the batches that it gets.

    Raises:
        LostProcessError: another process has ended.
    """
    starts = [0, *accumulate(map(len, batches))]
    numbers = mine(range(len(batches)))
    whole: Tensor | None = None
    for place, part in enumerate(compute([batches[n] for n in numbers or [0]])):  # one without batches finds the shape
        if whole is None:
            whole = part.new_zeros(starts[-1], *part.shape[1:])
        if numbers:
            whole[starts[numbers[place]] : starts[numbers[place] + 1]] = part
    assert whole is not None, "there are batches"
    return summed(whole)


def _exchanged(tensor: "Tensor", exchange: Callable[[Any, "Tensor"], "Tensor"]) -> "Tensor":
    """Return what one of accelerate's operations makes of a tensor; `exchange` gets the operations and the tensor."""
    if _group.count == 1:
        return tensor
    from accelerate.utils import operations

    where: torch.device | str = tensor.device
    if _group.sends_from_device and tensor.device.type == "cpu":
        where = _group.device
    sent = tensor.detach().to(where).contiguous()
    with _lost():
        found = exchange(operations, sent)
    return found.to(tensor.device)


@contextmanager
def _lost() -> Iterator[None]:
    """Turn the error of a connection that broke into one line."""
    try:
        yield
    except RuntimeError as error:
        if is_shortage(error):
            raise
        raise LostProcessError("another process of this run has ended") from error

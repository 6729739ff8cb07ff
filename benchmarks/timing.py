"""Times that can be compared: the calls take turns in one run, and the best of each counts."""

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import accumulate

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from softtf.backbones.kernels import linear

Call = Callable[[], object]
LONG = 15.0  # seconds: such a time is a mean over many products already


def seconds_of(call: Call, device: torch.device) -> float:
    """Return how long one call takes, with the device's work finished before and after."""
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(calls: Mapping[str, Call], device: torch.device, seconds: float, rounds: int = 2) -> dict[str, float]:
    """Return the shortest time of each call; every round runs each of them once.

    At least `rounds` rounds, then further ones (30 at most) as long as they end within `seconds`. What took longer than
    LONG is not repeated. A GPU runs one round more that does not count, which pays for its kernels' choice.
    """
    if device.type == "cuda":
        for call in calls.values():
            call()
    best = dict.fromkeys(calls, float("inf"))
    start, done = time.perf_counter(), 0
    while done < rounds or (done < 30 and (time.perf_counter() - start) * (done + 1) / done < seconds):
        for name, call in calls.items():
            if done == 0 or best[name] < LONG:
                best[name] = min(best[name], seconds_of(call, device))
        done += 1
    return best


@cache
def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the multiply-adds a second of a plain large product: the best size and kernel that the machine has."""
    sides = (4096, 8192) if device.type == "cuda" else (1024, 2048)
    return max(_rate(kernel, side, dtype, device) for kernel in (F.linear, linear) for side in sides)


@torch.no_grad()
def _rate(kernel: Callable[..., torch.Tensor], side: int, dtype: torch.dtype, device: torch.device) -> float:
    x, weight = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    repeats = 20 if device.type == "cuda" else 2

    def products() -> None:
        for _ in range(repeats):
            kernel(x, weight)

    return repeats * side**3 / in_turns({"product": products}, device, seconds=1.0)["product"]


def peak_bytes(call: Call, device: torch.device) -> int:
    """Return the most memory that a call's tensors take at any moment, beyond what was held before it.

    What PyTorch's allocator was asked for, on a GPU and on a CPU alike; a kernel's own scratch memory is not in it.
    """
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        _wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    in_order = sorted(changes, key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in in_order), initial=0))


def busy_seconds(call: Call, device: torch.device) -> float:
    """Return how long the device works in a call: a GPU on kernels and copies, a CPU on PyTorch's operators.

    The rest of the call's time it waits for what the host does between them. Measure that time without the profiler,
    which slows the host down.
    """
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        call()
        _wait(device)
    kind = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
    events = [e for e in profiled.profiler.kineto_results.events() if e.device_type() == kind]
    return covered((e.start_ns(), e.end_ns()) for e in events if not e.is_user_annotation()) / 1e9


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """Return the length of what spans cover together; they may overlap."""
    total = reach = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reach))
        reach = max(reach, end)
    return total

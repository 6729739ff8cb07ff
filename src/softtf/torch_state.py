"""torch's global settings, as softtf's own code takes them for granted, whatever the caller has set."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import Lock
from typing import ParamSpec, TypeVar

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")
AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # the devices of `machine.find_device`


class _Float32:
    """Makes float32 the default type while any thread is inside: torch has one type for the whole process.

    The first thread in notes what it was, the last one out puts it back: what others would note is float32 already.
    """

    def __init__(self) -> None:
        self._inside: list[object] = []
        self._before = torch.float32
        self._have_own_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._have_own_lock)  # the parent's may be held by a thread not here

    def _have_own_lock(self) -> None:
        self._lock = Lock()

    @contextmanager
    def default(self) -> Iterator[None]:
        """Be inside meanwhile."""
        me = object()
        try:
            with self._lock:
                if not self._inside:
                    self._before = torch.get_default_dtype()
                self._inside.append(me)
                torch.set_default_dtype(torch.float32)
            yield
        finally:
            with self._lock:
                if me in self._inside:
                    self._inside.remove(me)
                    if not self._inside:
                        torch.set_default_dtype(self._before)


_float32 = _Float32()


@contextmanager
def own_settings() -> Iterator[None]:
    """Work with torch's settings at their defaults meanwhile, and leave them as they were.

    float32 is the default type and the CPU the default device; gradients are recorded, also inside `no_grad` and
    `inference_mode`, since learning needs them; nothing is cast automatically, as `precision` says what to compute in.
    All this is the thread's own, but for the default type: other threads have float32 too, until the last one leaves.
    """
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":  # a device context would slow every call down
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_float32.default())
        yield


def with_own_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function`, run with `own_settings`."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_settings():
            return function(*args, **kwargs)

    return guarded


def make_recordable(module: nn.Module) -> None:
    """Replace tensors of a module that were made in inference mode, which no gradient may pass, by copies."""
    with own_settings():
        for part in module.modules():
            for name, weight in part.named_parameters(recurse=False):
                if weight.is_inference():
                    setattr(part, name, nn.Parameter(weight.detach().clone(), weight.requires_grad))
            for name, buffer in part.named_buffers(recurse=False):
                if buffer.is_inference():
                    setattr(part, name, buffer.clone())

"""torch's global settings, as softtf's own code takes them for granted, whatever the caller has set."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import wraps
from threading import RLock
from typing import ParamSpec, TypeVar
from weakref import WeakSet

import torch
from torch import nn

from softtf.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # the devices of `machine.find_device`


class _Call:
    """Stands for a call that is inside `_Process.float32`, and goes with it."""


class _Process:
    """What belongs to the whole process: torch's default type, and whether torch's threads are those of a parent."""

    def __init__(self) -> None:
        self._inside = WeakSet[_Call]()  # weak: of a call that was interrupted as it left nothing may stay
        self._before: torch.dtype | None = None  # the default type that is to be put back
        self._used = self._forked = False
        self._lock = RLock()  # one that a generator, collected in the midst of this, can take as well
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock, self._forked = RLock(), self._used  # the parent's lock may be held by a thread that is not here

    def check(self) -> None:
        """Refuse to wait for ever for threads that a fork has left behind.

        Raises:
            UserError: the parent has used torch's threads, and this process is to use them.
        """
        if self._forked and torch.get_num_threads() > 1:
            raise UserError(
                "this process was forked from one that had used softtf, and torch's threads do not survive a fork;"
                " start it by 'spawn', or call torch.set_num_threads(1) in it first"
            )
        self._used = True

    @contextmanager
    def float32(self) -> Iterator[None]:
        """Make float32 the default type while any thread is inside.

        The first thread in notes what it was, the last one out puts it back: others would note float32.
        """
        me = _Call()
        try:
            with self._lock:
                self._inside.add(me)
                if self._before is None:
                    self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            yield
        finally:
            with self._lock:
                self._inside.discard(me)
                if self._before is not None and not self._inside:
                    torch.set_default_dtype(self._before)
                    self._before = None


_process = _Process()


@contextmanager
def own_settings() -> Iterator[None]:
    """Work with torch's settings at their defaults meanwhile, and leave them as they were.

    float32 is the default type and the CPU the default device; gradients are recorded, also inside `no_grad` and
    `inference_mode`, since learning needs them; nothing is cast automatically, as `precision` says what to compute in.
    All this is the thread's own, but for the default type: other threads have float32 too, until the last one leaves.

    Raises:
        UserError: the process was forked from one that had used torch's threads.
    """
    _process.check()
    with ExitStack() as stack:
        # `get_default_device` fails before torch 2.10 once it was set to None. A device context would slow every call.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_process.float32())
        yield


def with_own_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function`, run with `own_settings`, and in a context of its own.

    So what it sets of the thread's (`softtf.backbones.base.computing_in`) ends with it, wherever it is interrupted.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_settings():
            return copy_context().run(function, *args, **kwargs)

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

"""torch's global settings: softtf's code runs with the defaults, whatever the caller has set."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from softtf.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # the devices of `find_device`


class _Drawing(TorchDispatchMode):
    """Random operations of this thread draw from a generator of their own, not from torch's global one."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            takes_one = any(argument.name == "generator" for argument in func._schema.arguments)
            func = func if takes_one else func.overloadpacket.generator  # `randn` has an overload for it
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)


class _Call:
    """A call that is inside `_Process.float32`."""


class _Process:
    """State of the whole process: torch's default type, who builds a model, and whether a fork lost torch's threads."""

    def __init__(self) -> None:
        self._inside = WeakSet[_Call]()  # weak: a call that is interrupted as it leaves must not stay
        self._before: torch.dtype | None = None  # the default type to restore
        self._used = self._forked = False
        self.building = RLock()
        self._lock = RLock()  # reentrant: a generator collected meanwhile may take it too
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.building, self._lock, self._forked = RLock(), RLock(), self._used  # the parent may hold the old locks

    def check(self) -> None:
        """Refuse to compute with threads that did not survive a fork: that would wait for ever.

        Raises:
            UserError: the parent has used torch's threads, and this process would too.
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

        The first thread to enter notes the default type and the last one to leave restores it: any other thread would
        note float32.
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
            try:
                self._leave(me)
            except BaseException:  # a Ctrl-C that strikes meanwhile
                self._leave(me)
                raise

    def _leave(self, me: _Call) -> None:
        with self._lock:
            self._inside.discard(me)
            if self._before is not None and not self._inside:
                torch.set_default_dtype(self._before)
                self._before = None


_process = _Process()


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let libraries that build a model draw its weights from a seed; one thread builds at a time.

    `manual_seed` would set the generator that all threads share: other threads draw from it meanwhile, and the caller's
    random numbers would change.
    """
    with _process.building, _Drawing(seed):
        yield


@contextmanager
def own_settings() -> Iterator[None]:
    """Run the block with torch's settings at their defaults, and restore them afterwards.

    The default type is float32 and the default device the CPU. Gradients are recorded, even inside `no_grad` and
    `inference_mode`, because learning needs them. Autocast is off, because `precision` decides. The settings are those
    of this thread, except the default type: other threads have float32 too, until the last one leaves.

    Raises:
        UserError: this process was forked from one that had used torch's threads.
    """
    _process.check()
    with ExitStack() as stack:
        # Before torch 2.10 `get_default_device` fails once the device was set to None. A context slows every call.
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
    """Return `function` wrapped to run with `own_settings` and in its own context.

    Context variables that it sets (`softtf.backbones.base.ComputingIn`) end with it, wherever it is interrupted.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_settings():
            return copy_context().run(function, *args, **kwargs)

    return guarded


def make_recordable(module: nn.Module) -> None:
    """Replace a module's tensors from inference mode, through which no gradient can pass, by copies."""
    with own_settings():
        for part in module.modules():
            for name, weight in part.named_parameters(recurse=False):
                if weight.is_inference():
                    setattr(part, name, nn.Parameter(weight.detach().clone(), weight.requires_grad))
            for name, buffer in part.named_buffers(recurse=False):
                if buffer.is_inference():
                    setattr(part, name, buffer.clone())

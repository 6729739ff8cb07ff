"""SIGTERM and SIGHUP stop a command as Ctrl-C does.

For the command line alone; importing the library does not change how signals are handled.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from softtf.errors import interrupt_of

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of which Windows has not all


class Stopped(KeyboardInterrupt):  # noqa: N818 - it is no error
    """A signal asked the command to stop.

    number: the signal's; the exit code is 128 plus it.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], None]]:
    """Within the block, raise `Stopped` when a signal comes; in other threads do nothing.

    A second signal during the clean-up is ignored. A signal that is ignored when the block begins, as under `nohup`,
    stays ignored.

    Returns:
        a function to call before the exit: further signals are then ignored.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _stop)

    def leave() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield leave
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if interrupt_of(sys.exception()) is None:  # else it is being obeyed: something is cleaned up
        raise Stopped(number)


def exit_code(error: KeyboardInterrupt) -> int:
    """Return the exit code that shells expect after this interrupt."""
    return 128 + getattr(error, "number", int(signal.SIGINT))

"""SIGTERM and SIGHUP do in a command what Ctrl-C does: its work ends as if KeyboardInterrupt had been raised.

For the command line alone; importing the library changes nothing of what signals do.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of which Windows has not all


class Stopped(KeyboardInterrupt):  # noqa: N818 - it is no error
    """A signal asked the command to stop.

    number: the signal's, by which shells know the exit code: 128 and that.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], None]]:
    """Raise `Stopped` in the main thread when a signal comes, until the block ends; elsewhere change nothing.

    A second signal while the first is being obeyed changes nothing. One that is ignored when the block begins, as
    `nohup` and shells in the background have it, stays so.

    Returns:
        what to call when nothing is left to do but to leave: further signals are then ignored.
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
    if stopped(sys.exception()) is None:  # else it is being obeyed: something is cleaned up
        raise Stopped(number)


def stopped(error: BaseException | None) -> Stopped | KeyboardInterrupt | None:
    """Return the interrupt that ended in this error, if one did.

    When a signal goes to all processes of a terminal or a job, one that loads data may end first, and be missed.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def exit_code(error: KeyboardInterrupt) -> int:
    """Return what a shell expects of a command that was stopped so."""
    return 128 + getattr(error, "number", int(signal.SIGINT))

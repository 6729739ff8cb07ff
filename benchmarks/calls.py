"""A process that is called line by line, and the processor seconds and memory that a call took.

It imports nothing of softtf, so that a process of other code can use it.
"""

import contextlib
import io
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple


class Spent(NamedTuple):
    """What a call took.

    Attributes:
        seconds: processor seconds of all the process's threads.
        peak: the largest resident memory of the process until then, in bytes.
    """

    seconds: float
    peak: int


def answer_calls(call: Callable[..., object]) -> None:
    """Make the call that stands in each line of the input, and print what it took; what it prints itself is dropped.

    A line is words: the call gets the first one as it is, and the others as integers.
    """
    print("ready", flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            call(name, *map(int, numbers))
        seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(seconds, peak, flush=True)

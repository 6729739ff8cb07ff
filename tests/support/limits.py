"""Running out of memory on purpose, in a process of its own."""

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from softtf.errors import UserError


def with_little_memory(more: int, act: Callable[[], object]) -> tuple[int, str]:
    """Run `act` in a fork that may take so many bytes beside what it has; return 0, or 2 and its UserError's line."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        code = 99
        try:
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (has + more, has + more))
            try:
                act()
                code = 0
            except UserError as error:
                os.write(write, str(error).encode())
                code = 2
        finally:
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(read) as told:
        return os.waitstatus_to_exitcode(status), told.read()


linux = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")

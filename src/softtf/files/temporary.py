"""Names of files that are being written, which no two processes share, and how to tell that one was left behind."""

import os
import socket
import time
import uuid
from pathlib import Path

DAY = 24 * 60 * 60  # seconds after which a temporary file is nobody's, if its process cannot be asked
HOST = "".join(c if c.isascii() and c.isalnum() else "_" for c in socket.gethostname())[:32]


def temporary_name() -> str:
    """Return a short file name that nobody else has, on any machine: `.HOST-PID-RANDOM.tmp`."""
    return f".{HOST}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


def is_temporary(file: Path) -> bool:
    """Say whether a file's name is one of `temporary_name`, or what earlier versions called theirs."""
    return file.name.startswith(".") and file.name.endswith(".tmp")


def is_abandoned(file: Path) -> bool:
    """Say whether nobody will go on with a temporary file: its process has ended, or the file is a day old.

    Of a process on another machine only the file's age is known. Those of earlier versions name no process.
    """
    if not is_temporary(file):
        return False
    host, pid, *rest = [*file.name[1:-4].split("-"), ""]
    if len(rest) != 2 or not pid.isdecimal():
        return True
    if host == HOST and not _is_alive(int(pid)):
        return True
    try:
        return time.time() - file.stat().st_mtime > DAY
    except OSError:
        return False  # it has just gone


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # where the signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True

"""Files that a folder may hold although nothing was saved in it: temporary ones, and the file system's own."""

import hashlib
import os
import socket
import time
import uuid
from pathlib import Path

DAY = 24 * 60 * 60  # seconds after which a temporary file is abandoned if its process cannot be asked
HOST = "".join(c if c.isascii() and c.isalnum() else "_" for c in socket.gethostname())[:32]


def born(pid: int) -> str:
    """Return what tells a process from a later one with its number: its boot and start time.

    Empty if unknown, and for a process that has ended but that its parent has not asked after.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *of_process = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else f"{boot} {of_process[18]}"
    except (OSError, ValueError, IndexError):
        return ""


def temporary_name() -> str:
    """Return a short file name that no other process uses, on any machine: `.HOST-PID-BORN-RANDOM.tmp`."""
    return f".{HOST}-{os.getpid()}-{_short(born(os.getpid()))}-{uuid.uuid4().hex[:12]}.tmp"


def _short(born: str) -> str:
    return hashlib.sha256(born.encode()).hexdigest()[:8] if born else "0"


def is_temporary(file: Path) -> bool:
    """Return whether a file is temporary, by its name; earlier versions used other names."""
    return file.name.startswith(".") and file.name.endswith(".tmp")


def is_of_file_system(file: Path) -> bool:
    """Return whether a file system made this folder when it was made itself: an empty disk of ext4 has one."""
    return file.name == "lost+found" and file.is_dir()


def is_abandoned(file: Path) -> bool:
    """Return whether nobody writes a temporary file any more: its process has ended, or the file is a day old.

    For a process on another machine only the file's age counts. Files of earlier versions name no process, or no start.
    """
    if not is_temporary(file):
        return False
    host, pid, *rest = [*file.name[1:-4].split("-"), ""]
    if len(rest) not in (2, 3) or not pid.isdecimal():
        return True
    if host == HOST and not _is_alive(int(pid[:18]), rest[0] if len(rest) == 3 else "0"):
        return True
    try:
        return time.time() - file.stat().st_mtime > DAY
    except OSError:
        return False  # it has just been removed


def _is_alive(pid: int, start: str) -> bool:
    """Return whether a process may still run; `start`: of its name, "0" if it is unknown."""
    if os.name == "nt":  # signal 0 would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return start in ("0", _short(born(pid))) or not born(pid)

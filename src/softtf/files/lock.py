"""One process at a time works on a folder: a lock that says whose it is, and that a killed process leaves open.

Where the file system has `flock`, the system gives the lock back when its process ends, however it ends. Where it has
not, what the lock's file says decides: a process of this machine that is gone, by its number and the time it was
started, has left it; one of another machine cannot be asked. Windows locks nothing.
"""

import json
import os
import socket
import time
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from softtf.errors import UserError
from softtf.files.reading import open_regular, read_bytes
from softtf.files.temporary import temporary_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
TRIES = 5  # somebody may just be looking whose it is
PAUSE = 0.05  # seconds between them
LARGEST = 10_000  # bytes of a lock's file
_HELD: "weakref.WeakSet[IO[Any]]" = weakref.WeakSet()


class BusyError(UserError):
    """Another process works on the folder."""


@dataclass(frozen=True)
class Owner:
    """A process that has a lock.

    Attributes:
        host: its machine.
        pid: its number there.
        since: when it took the lock.
        born: what tells it from a later process of that number; empty where the system does not say.
    """

    host: str
    pid: int
    since: str
    born: str = ""

    @classmethod
    def me(cls) -> "Owner":
        """Return this process."""
        now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        return cls(socket.gethostname(), os.getpid(), now, _born(os.getpid()))

    @classmethod
    def read(cls, path: Path) -> "Owner | None":
        """Return who a lock's file names; None if it names nobody (yet)."""
        try:
            found = cls(**json.loads(read_bytes(path, LARGEST)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return found if type(found.pid) is int and 0 < found.pid < 2**31 else None

    @property
    def is_gone(self) -> bool:
        """Whether the process has surely ended; of one on another machine nothing is sure."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's process
            pass
        return bool(self.born) and self.born != _born(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def _born(pid: int) -> str:
    """Return which start of the system a process belongs to, and when it was started after it; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""


class Lock:
    """The lock of a folder; this process has it until `release`, or until it ends.

    Args:
        folder: exists.

    Raises:
        BusyError: another process, or another part of this one, has it.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: IO[Any] | None = None
        if fcntl is None:
            return
        for _ in range(TRIES):
            if self._take(folder):
                return
            time.sleep(PAUSE)
        raise _busy(folder)

    def _take(self, folder: Path) -> bool:
        """Try once."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
        file: IO[Any] = open(self.path, "r+b", buffering=0, opener=lambda path, _: os.open(path, flags, 0o666))  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(file, self.path):  # whoever had it removed it
                file.close()
                return False
        except BlockingIOError:
            file.close()
            return False
        except OSError:  # no flock here
            file.close()
            file = _take_over(folder)
        self._file = file
        _HELD.add(file)
        file.truncate(0)
        file.write(json.dumps(asdict(Owner.me())).encode())
        return _is_at(file, self.path)

    def release(self) -> None:
        """Give the lock back; without effect if that was done before."""
        if self._file is not None and not self._file.closed:
            with suppress(OSError):
                if _is_at(self._file, self.path):
                    self.path.unlink()
            self._file.close()


def holder(folder: Path) -> str | None:
    """Return who has a folder's lock, in words; None if nobody has."""
    path = folder / NAME
    try:
        with open_regular(path, LARGEST) as file:
            owner = Owner.read(path)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(owner or "another process")
            except OSError:  # no flock here
                return None if owner is None or owner.is_gone else str(owner)
    except (OSError, AttributeError):  # there is no lock; there are none at all on Windows
        pass
    return None


def check_idle(folder: Path) -> None:
    """Refuse a folder that a process works on.

    Raises:
        BusyError: so it is.
    """
    if holder(folder):
        raise _busy(folder)


def _busy(folder: Path) -> BusyError:
    return BusyError(f"{folder} is in use by {holder(folder) or 'another process'}; wait until it ends, or stop it")


def _take_over(folder: Path) -> IO[Any]:
    """Make a lock's file where there is no `flock`, or take that of a process that is gone.

    Raises:
        BusyError: it is not known to be gone.
    """
    path, own = folder / NAME, folder / temporary_name()
    owner = Owner.read(path)
    if owner is not None and not owner.is_gone:
        if owner.host == socket.gethostname():
            raise _busy(folder)
        raise BusyError(f"{folder} is in use by {owner}; wait until it ends, and if it has ended, remove {path}")
    os.replace(path, own)  # this moment decides between two that both found it left
    if Owner.read(own) != owner:
        if not path.exists():
            os.replace(own, path)
        raise _busy(folder)
    own.unlink()
    try:
        return open(path, "x+b", buffering=0)
    except FileExistsError:
        raise _busy(folder) from None


def _is_at(file: IO[Any], path: Path) -> bool:
    """Say whether an open file is still what stands at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _let_go() -> None:
    """Close the locks that a forked process has inherited: else it would keep them when its parent is killed."""
    for file in list(_HELD):
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

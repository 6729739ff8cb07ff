"""A lock of a folder: one process at a time works on it. The lock names its owner and does not outlive it.

Where the file system has `flock`, the system releases the lock when the process ends, however it ends. Elsewhere the
lock's file decides. It names the process by its number and start time; a process of this machine that has ended no
longer holds the lock. A process of another machine cannot be asked. On Windows nothing is locked.

Somebody may remove the folder, and another process may make and lock it again. So before each write into a locked
folder `check_ours` looks whether the lock's file is still there.
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
from softtf.files.temporary import born, temporary_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
TRIES = 5  # `holder` in another process takes the lock for a moment
PAUSE = 0.05  # seconds between tries
LARGEST = 10_000  # bytes of a lock's file
_HELD: "weakref.WeakSet[Lock]" = weakref.WeakSet()


class BusyError(UserError):
    """Another process is using the folder."""


@dataclass(frozen=True)
class Owner:
    """A process that holds a lock.

    Attributes:
        host: its machine.
        pid: its process number on that machine.
        since: when it took the lock.
        born: its start time, which tells it from a later process with the same number; empty where the system does not
            say.
    """

    host: str
    pid: int
    since: str
    born: str = ""

    @classmethod
    def me(cls) -> "Owner":
        """Return this process."""
        now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        return cls(socket.gethostname(), os.getpid(), now, born(os.getpid()))

    @classmethod
    def read(cls, path: Path) -> "Owner | None":
        """Return the owner that a lock's file names; None if it names nobody (yet)."""
        try:
            found = cls(**json.loads(read_bytes(path, LARGEST)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return found if type(found.pid) is int and 0 < found.pid < 2**31 else None

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended for certain; always False for a process of another machine."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # another user's process
            pass
        return bool(self.born) and self.born != born(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lock:
    """The lock of a folder; this process holds it until `release`, or until it ends.

    Args:
        folder: an existing folder.

    Raises:
        BusyError: another process, or another part of this one, holds the lock.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / NAME
        self._file: IO[Any] | None = None
        if fcntl is None:
            return
        for _ in range(TRIES):
            if self._take(folder):
                return
            time.sleep(PAUSE)
        raise _busy(folder)

    def _take(self, folder: Path) -> bool:
        """Try once to take the lock, and return whether it worked."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
        file: IO[Any] = open(self.path, "r+b", buffering=0, opener=lambda path, _: os.open(path, flags, 0o666))  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(file, self.path):  # its owner has just removed it
                file.close()
                return False
        except BlockingIOError:
            file.close()
            return False
        except OSError:  # no flock here
            file.close()
            file = _take_over(folder)
        self._file = file
        _HELD.add(self)
        file.truncate(0)
        file.write(json.dumps(asdict(Owner.me())).encode())
        return _is_at(file, self.path)

    @property
    def is_lost(self) -> bool:
        """Whether the lock was not released, and yet its file is no longer there or is another process's."""
        return self._file is not None and not self._file.closed and not _is_at(self._file, self.path)

    def release(self) -> None:
        """Release the lock; does nothing if it is released already."""
        if self._file is not None and not self._file.closed:
            with suppress(OSError):
                if _is_at(self._file, self.path):
                    self.path.unlink()
            self.close()

    def close(self) -> None:
        """Release the lock, and leave its file."""
        if self._file is not None:
            self._file.close()


def holder(folder: Path) -> str | None:
    """Return who holds a folder's lock, in words; None if nobody does."""
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
    except (OSError, AttributeError):  # there is no lock; on Windows there never is
        pass
    return None


def check_idle(folder: Path) -> None:
    """Refuse a folder that a process is using.

    Raises:
        BusyError: a process is using it.
    """
    if holder(folder):
        raise _busy(folder)


def check_ours(path: Path) -> None:
    """Refuse to write to a path in a folder that this process locked and whose lock it has lost.

    Raises:
        UserError: the folder was removed, or made again by another process.
    """
    for lock in list(_HELD):
        if path.absolute().is_relative_to(lock.path.parent) and lock.is_lost:
            raise UserError(
                f"{lock.path.parent} is no longer this process's: somebody removed {lock.path}; nothing more is written"
            )


def _busy(folder: Path) -> BusyError:
    return BusyError(f"{folder} is in use by {holder(folder) or 'another process'}; wait until it ends, or stop it")


def _take_over(folder: Path) -> IO[Any]:
    """Make a lock's file where there is no `flock`, or replace the file of a process that has ended.

    Raises:
        BusyError: the owner may still be running.
    """
    path, own = folder / NAME, folder / temporary_name()
    owner = Owner.read(path)
    if owner is not None and not owner.is_gone:
        if owner.host == socket.gethostname():
            raise _busy(folder)
        raise BusyError(f"{folder} is in use by {owner}; wait until it ends, and if it has ended, remove {path}")
    os.replace(path, own)  # decides between two processes that both found it abandoned
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
    """Return whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _close_inherited() -> None:
    """Close the locks that a forked process inherits; otherwise it would keep them when its parent is killed."""
    for lock in list(_HELD):
        lock.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)

"""A sweep whose output is at a URL that fsspec writes to, such as s3://bucket/big.

Each machine works in a folder of its own, and none needs another's disk. What counts is the URL. A worker begins with
the run's files from there, and sends those that changed after each epoch and each task, in the order in which they were
written; a finished run's summary.json is the last. So a worker that dies leaves at the URL what a killed run leaves in
a folder, and any machine goes on from it.

Object stores have no locks. While a worker is at a run, there is a lease beside it (`seed-0.lease.json`), which the
worker renews. A lease that was not renewed for `STALE` seconds is void, so clocks must agree to about a minute. If two
workers take a lease in one moment, the first notices before it sends anything, and stops.

Several commands of one machine may share its folder. While a worker is at a run, and while a look copies one, a lock
beside the run keeps the others from its folder (`.seed-0`): a look makes the folder what the URL has, and would take
from a worker what it is reading, or has not sent yet.
"""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from softtf.errors import UserError
from softtf.files.lock import NAME as LOCK
from softtf.files.lock import BusyError, Lock, Owner, check_idle, holder
from softtf.files.temporary import is_temporary
from softtf.sweeps.storage import GoneError, Storage

BEAT = 20.0
"""Seconds between two renewals of a lease."""
STALE = 120.0
"""Seconds after which a lease that was not renewed is void."""
LOOK = 30.0
"""Seconds that a worker waits for another command to have looked at its run."""
FIRST, LAST = "config.yaml", "summary.json"
LARGE, LOG = ".safetensors", ".log"
"""The ends of the names of files with weights, and of what runs printed."""
BESIDE = (".lease.json", ".failure.json")
"""The ends of the names of files beside a run that say what becomes of it."""


def at_hand(url: str) -> Path:
    """Return this machine's folder for a sweep at a URL."""
    return Path("runs/sweeps") / re.sub(r"[^\w.-]+", "-", url)


def look(url: str, folder: Path, weights: bool = False, seen: dict[str, str] | None = None) -> None:
    """Copy files from a URL, to see how far runs are and what they found.

    A run that a process of this machine works on in the folder is left alone. One that differs from the URL's is
    replaced, and one that the URL lacks counts as not finished.

    Args:
        url: of a sweep or a run.
        folder: where they go.
        weights: also files of weights that the folder lacks.
        seen: the states of the files that an earlier look copied, which are not copied again; it is kept up to date.

    Raises:
        AwayError: the URL cannot be read.
    """
    storage, seen = Storage(url), {} if seen is None else seen
    there = storage.states()
    names: dict[Path, list[str]] = {file.parent: [] for file in folder.rglob(FIRST)}
    names |= {folder / PurePosixPath(name).parent: [] for name in there if PurePosixPath(name).name == FIRST}
    beside: list[str] = []
    for name in there:
        run = next((path for path in (folder / name).parents if path in names), None)
        (beside if run is None else names[run]).append(name)
    wanted = {
        name: state for name, state in there.items() if not name.endswith(LOG) and (weights or not name.endswith(LARGE))
    }

    def fetch(some: Sequence[str]) -> None:
        for name in [name for name in some if name in wanted]:
            file = folder / name
            if not file.exists() or not (name.endswith(LARGE) or seen.get(name) == wanted[name]):
                with suppress(GoneError):  # since it was listed
                    storage.fetch(name, file)
                    seen[name] = wanted[name]

    for file in [file for file in folder.rglob("*.json") if file.name.endswith(BESIDE)]:
        if file.relative_to(folder).as_posix() not in there:
            file.unlink(missing_ok=True)
    fetch(beside)
    for path, own in names.items():
        with suppress(BusyError), _alone(path):
            if holder(path) is None:
                _drop_other(storage, folder, path, there, seen)
                fetch(own)


def _drop_other(storage: Storage, folder: Path, path: Path, there: dict[str, str], seen: dict[str, str]) -> None:
    """Remove a run's folder that was not seen before and differs from the URL's, and results that the URL lacks."""
    first, last = ((path / name).relative_to(folder).as_posix() for name in (FIRST, LAST))
    if last not in there:
        (path / LAST).unlink(missing_ok=True)
    if first not in there or first in seen or not path.exists():
        return
    if not (path / LAST).exists() or (path / LAST).read_bytes() != storage.read(last):
        shutil.rmtree(path)


@contextmanager
def _alone(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other commands of this machine from a run's folder meanwhile; the lock is beside it, as it may be removed.

    Args:
        path: of the run.
        patience: seconds to wait for the lock.

    Raises:
        BusyError: another command has it.
    """
    beside, until = path.with_name(f".{path.name}"), time.monotonic() + patience
    beside.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            lock = Lock(beside)
            break
        except BusyError:
            if time.monotonic() >= until:
                who = holder(beside) or "another process"
                raise BusyError(f"{path} is in use by {who}; wait until it ends, or stop it") from None
    try:
        yield
    finally:
        lock.release()


class Copy:
    """A run's folder, and its copy at a URL.

    Args:
        url: of the run.
        path: its folder on this machine.

    Raises:
        AwayError: the URL cannot be read or written; so do all methods.
    """

    def __init__(self, url: str, path: Path) -> None:
        place, _, self.name = url.rpartition("/")
        self.url, self.path, self.storage = url, path, Storage(place)
        self.there: dict[str, tuple[int, int]] = {}  # what the URL has: the state of the file that was sent

    @contextmanager
    def leased(self) -> Iterator[None]:
        """Hold the run's lease meanwhile.

        Raises:
            BusyError: another worker has it.
        """
        self._check_free()  # or this would wait for the lock of a worker
        with _alone(self.path, LOOK):
            self._check_free()
            with self._renewed():
                yield

    def _check_free(self) -> None:
        if owner := holder_of(self.storage.read(lease_file(self.path).name)):
            raise BusyError(f"{self.url} is in use by {owner}; wait until it ends, or stop it")

    @contextmanager
    def _renewed(self) -> Iterator[None]:
        """Take the run's lease, renew it meanwhile, and give it back."""
        self.owner, ended = Owner.me(), threading.Event()
        self._renew()

        def renew() -> None:
            while not ended.wait(BEAT):
                with suppress(UserError):  # the next beat may reach it; if none does, the next `send` says so
                    if self._is_ours():
                        self._renew()

        threading.Thread(target=renew, daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            with suppress(UserError):
                if self._is_ours():
                    self.storage.remove(lease_file(self.path).name)

    def take(self) -> None:
        """Put the URL's run into this machine's folder; if the URL has none, the folder stays as it is.

        Raises:
            BusyError: another process works on the folder.
        """
        check_idle(self.path)
        names = self.storage.names(self.name)
        self.there = dict.fromkeys(names, (0, 0))
        if FIRST not in names:
            return
        if self.path.exists():
            shutil.rmtree(self.path)
        for name in names:
            self.storage.fetch(f"{self.name}/{name}", self.path / name)
            self.there[name] = _state(self.path / name)

    def send(self) -> None:
        """Make the URL's run equal to this machine's folder; what was written last is sent last.

        Raises:
            BusyError: another worker has taken the run.
        """
        if not self._is_ours():
            raise BusyError(f"{self.url} was taken by another worker; nothing more is sent")
        files = [file for file in self.path.rglob("*") if file.is_file() and not file.is_symlink()]
        own = [file for file in files if file.name != LOCK and not is_temporary(file)]
        now = {file.relative_to(self.path).as_posix(): _state(file) for file in own}
        changed = sorted((name for name in now if self.there.get(name) != now[name]), key=lambda name: now[name])
        for name in [name for name in changed if name != LAST]:
            self._send(name, now[name])
        for name in self.there.keys() - now:
            self.storage.remove(f"{self.name}/{name}")
            del self.there[name]
        if LAST in changed:
            self._send(LAST, now[LAST])

    def _send(self, name: str, state: tuple[int, int]) -> None:
        self.storage.send(self.path / name, f"{self.name}/{name}")
        self.there[name] = state

    def _renew(self) -> None:
        content = {"owner": asdict(self.owner), "renewed": time.time()}
        self.storage.write(lease_file(self.path).name, json.dumps(content).encode())

    def _is_ours(self) -> bool:
        return _lease(self.storage.read(lease_file(self.path).name))[0] == self.owner


def lease_file(path: Path) -> Path:
    """Return the file beside a run's folder that says who is at the run."""
    return path.with_name(f"{path.name}.lease.json")


def holder_of(content: bytes | None) -> str | None:
    """Return who holds a lease, in words; None if it is void, or there is none."""
    owner, renewed = _lease(content)
    return None if owner is None or owner.is_gone or time.time() - renewed > STALE else str(owner)


def _lease(content: bytes | None) -> tuple[Owner | None, float]:
    """Return a lease's owner, and when it was renewed; None if it names nobody."""
    try:
        found: dict[str, Any] = json.loads(content or b"{}")
        return Owner(**found["owner"]), float(found["renewed"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, 0.0


def _state(file: Path) -> tuple[int, int]:
    """Return when a file was written, and its size."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size

"""A lock that is held keeps others out and names who holds it; a process that is gone holds none."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from softtf.files import lock as module
from softtf.files.lock import NAME, BusyError, Lock, Owner, check_idle, holder
from softtf.files.temporary import born


@pytest.fixture(params=["flock", "no flock"])
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no flock":
        monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))


def in_a_fork(act: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    return pid


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


@pytest.mark.usefixtures("_both")
def test_a_lock_that_is_held_names_its_owner_and_leaves_no_trace(tmp_path: Path) -> None:
    check_idle(tmp_path)
    lock = Lock(tmp_path)
    who = f"process {os.getpid()} on {socket.gethostname()}, since 20"
    assert str(holder(tmp_path)).startswith(who)
    for refused in (Lock, check_idle):
        with pytest.raises(BusyError, match=f"is in use by {who}.*; wait until it ends, or stop it"):
            refused(tmp_path)
    lock.release()
    lock.release()
    assert holder(tmp_path) is None and not list(tmp_path.iterdir())
    Lock(tmp_path).release()


@pytest.mark.usefixtures("_both")
def test_a_killed_process_leaves_nothing_that_blocks(tmp_path: Path) -> None:
    def hold() -> None:
        lock = Lock(tmp_path / "held")
        time.sleep(1000)
        lock.release()

    (tmp_path / "held").mkdir()
    pid = in_a_fork(hold)
    wait_for(lambda: Owner.read(tmp_path / "held" / NAME))
    with pytest.raises(BusyError, match=f"process {pid} on"):
        Lock(tmp_path / "held")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (tmp_path / "held" / NAME).exists() and holder(tmp_path / "held") is None
    Lock(tmp_path / "held").release()
    assert not list((tmp_path / "held").iterdir())


def test_children_of_a_killed_process_do_not_keep_its_lock(tmp_path: Path) -> None:
    def hold_and_fork() -> None:
        lock = Lock(tmp_path)
        child = in_a_fork(lambda: time.sleep(1000))  # as a worker that loads images
        (tmp_path / "child").write_text(str(child))
        time.sleep(1000)
        lock.release()

    pid = in_a_fork(hold_and_fork)
    wait_for(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        Lock(tmp_path).release()
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


@pytest.mark.usefixtures("_both")
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"host": 1}', b"\xff" * 99, b"[" * 9999])
def test_a_file_that_names_nobody_is_no_lock(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert holder(tmp_path) is None
    Lock(tmp_path).release()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not born(os.getpid()), reason="this system does not tell when a process was born")
def test_a_process_that_has_ended_is_gone_before_its_parent_asks_after_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(Owner.me(), pid=child.pid, born=born(child.pid))
    assert not owner.is_gone
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken its status
    assert owner.is_gone
    child.communicate()


def test_where_there_is_no_flock_only_a_process_that_is_surely_gone_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))
    me = Owner.me()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for owner, gone in [
        (me, False),
        (replace(me, born="another boot 1"), True),  # its number was given to another process
        (replace(me, born=""), False),
        (replace(me, pid=ended.pid), True),
        (replace(me, host="elsewhere"), False),
        (replace(me, host="elsewhere", pid=ended.pid), False),
    ]:
        assert owner.is_gone == gone
        (tmp_path / NAME).write_text(json.dumps(asdict(owner)))
        assert (holder(tmp_path) is None) == gone
        if gone:
            Lock(tmp_path).release()
            continue
        remedy = f"if it has ended, remove {tmp_path / NAME}" if owner.host != me.host else "wait until it ends"
        with pytest.raises(BusyError, match=remedy):
            Lock(tmp_path)
        assert Owner.read(tmp_path / NAME) == owner
        (tmp_path / NAME).unlink()


@pytest.mark.slow
def test_of_many_that_find_a_lock_left_one_gets_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for trial in range(4):
        stale = replace(Owner.me(), born="another boot 1")
        (tmp_path / "run" / NAME).write_text(json.dumps(asdict(stale)))

        def race(trial: int = trial) -> None:
            while not (tmp_path / f"go-{trial}").exists():
                pass
            try:
                lock = Lock(tmp_path / "run")
            except BusyError:
                (tmp_path / f"lost-{trial}-{os.getpid()}").touch()
                return
            (tmp_path / f"had-{trial}-{os.getpid()}").touch()
            wait_for(lambda: (tmp_path / f"end-{trial}").exists())
            lock.release()

        pids = [in_a_fork(race) for _ in range(4)]
        (tmp_path / f"go-{trial}").touch()
        wait_for(lambda trial=trial: len(list(tmp_path.glob(f"*-{trial}-*"))) == 4)
        (tmp_path / f"end-{trial}").touch()
        for pid in pids:
            os.waitpid(pid, 0)
        assert len(list(tmp_path.glob(f"had-{trial}-*"))) == 1
    assert not list((tmp_path / "run").iterdir())


def test_without_fcntl_nothing_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    lock, other = Lock(tmp_path), Lock(tmp_path)
    assert holder(tmp_path) is None
    lock.release()
    other.release()

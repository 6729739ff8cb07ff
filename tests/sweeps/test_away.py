"""A sweep at a URL: what a worker sends is what a folder would hold, and another machine goes on from it."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import fsspec
import pytest

from cli import call, contents, output, refused, results
from softtf.errors import UserError
from softtf.files.lock import BusyError, Lock, Owner
from softtf.runs.kept_epochs import KeptEpochs
from softtf.sweeps import away
from softtf.sweeps.away import Copy, at_hand, holder_of, look
from softtf.sweeps.file import name_of, read_sweep
from softtf.sweeps.storage import AwayError, Storage
from softtf.sweeps.work import outcome_of
from support.sweeps import SETTINGS, sweep_file
from support.tables import SMALL, WHERE

Patch = pytest.MonkeyPatch
URL = "memory://sweeps/big"
ONE = {"seeds": [0], "vary": {}, "settings": {**SETTINGS, "learner.adapt.layers": "5"}}
"""A sweep of one run, of two tasks of two epochs."""
OTHER = Owner("another-machine", 17, "now")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: Patch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    fsspec.filesystem("memory").store.clear()


def write(file: Path, text: str, at: int) -> None:
    """Write a file that looks as old as `at` says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, ns=(at, at))


def lease(owner: Owner, renewed: float) -> bytes:
    return json.dumps({"owner": asdict(owner), "renewed": renewed}).encode()


def test_what_cannot_be_reached_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AwayError, match=r"chain of file systems .* give a plain URL"):
        Storage("simplecache::memory://x")
    assert f"nosuch://x cannot be read or written on {socket.gethostname()} (ValueError" in refused(
        capsys, "sweep", "status", "nosuch://x"
    )
    assert outcome_of(lambda: Storage("nosuch://x") and None).kind == "failed", "a user's error is never retried"


def test_a_command_for_folders_refuses_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("run", "quickstart", "--output"), ("report",), ("compare",), ("predict",)):
        assert "s3:/b/x is a URL, where a file or folder" in refused(capsys, *words, "s3://b/x")
    assert "memory://none is no folder of `softtf" in refused(capsys, "sweep", "status", "memory://none")
    assert not Path("s3:").exists()


def test_what_was_written_last_is_sent_last_and_the_summary_after_all(monkeypatch: Patch) -> None:
    run = Path("run/seed-0")
    for at, name in enumerate(("summary.json", "config.yaml", "learner/task-001.safetensors", "events.jsonl"), 1):
        write(run / name, name, at * 10**9)
    write(run / ".lock", "", 1)
    sent: list[str] = []
    copy = Copy(f"{URL}/seed-0", run)
    true = copy.storage.send
    monkeypatch.setattr(copy.storage, "send", lambda file, name: (sent.append(file.name), true(file, name)))
    with copy.leased():
        copy.take()
        copy.send()
        assert sent == ["config.yaml", "task-001.safetensors", "events.jsonl", "summary.json"]
        del sent[:]
        copy.send()
        assert sent == []
        write(run / "events.jsonl", "more", 9 * 10**9)
        (run / "learner/task-001.safetensors").unlink()
        copy.send()
        assert sent == ["events.jsonl"]
    assert sorted(Storage(URL).names()) == ["seed-0/config.yaml", "seed-0/events.jsonl", "seed-0/summary.json"]
    write(run / "left.tmp", "of an older state here", 1)
    other = Copy(f"{URL}/seed-0", run)
    other.take()
    assert contents(run) == {"config.yaml": b"config.yaml", "events.jsonl": b"more", "summary.json": b"summary.json"}
    write(run / "checkpoint.safetensors", "x", 10**10)
    with other.leased():
        other.send()
    look(URL, Path("seen"))
    assert contents(Path("seen/seed-0")).keys() == contents(run).keys() - {"checkpoint.safetensors"}
    look(URL, Path("seen"), weights=True)
    assert contents(Path("seen/seed-0")) == contents(run)


def test_a_look_shows_what_the_url_has_and_nothing_else(monkeypatch: Patch) -> None:
    away, here = Storage(URL), Path("here")

    def at_url(run: str, *names: str) -> None:
        for name in names:
            away.write(f"m/{run}/{name}", f"{name} of the URL".encode())

    def found(run: str) -> dict[str, bytes]:
        return contents(here / "m" / run)

    at_url("begun", "config.yaml")
    at_url("other", "config.yaml", "summary.json", "x.safetensors")
    at_url("same", "config.yaml", "summary.json", "x.safetensors")
    for at, run in enumerate(("begun", "other", "same", "lacking", "busy"), 1):
        for name in ("config.yaml", "summary.json", "x.safetensors"):
            write(here / "m" / run / name, f"{name} here", at)
    write(here / "m/same/summary.json", "summary.json of the URL", 1)
    write(here / "m/same.failure.json", "{}", 1)
    lock, seen = Lock(here / "m/busy"), dict[str, str]()
    at_url("busy", "config.yaml")
    look(URL, here, seen=seen)
    lock.release()
    assert found("begun") == {"config.yaml": b"config.yaml of the URL"}
    assert found("other").keys() == {"config.yaml", "summary.json"}
    assert found("same")["x.safetensors"] == b"x.safetensors here" and not (here / "m/same.failure.json").exists()
    assert found("lacking").keys() == {"config.yaml", "x.safetensors"}, "it is sent again, and nothing is lost"
    assert set(found("busy").values()) == {f"{name} here".encode() for name in found("busy")}
    monkeypatch.setattr(Storage, "fetch", lambda storage, name, file: write(file, name, 1))
    away.write("m/begun/events.jsonl", b"new")
    look(URL, here, seen=seen)
    assert found("begun").keys() == {"config.yaml", "events.jsonl"}
    assert found("begun")["config.yaml"] == b"config.yaml of the URL", "what has not changed is not fetched again"


def test_a_look_and_a_worker_leave_a_run_to_each_other(monkeypatch: Patch) -> None:
    """Commands of one machine share its folder; a look would remove what a worker has taken, or has not sent yet."""
    there, run = Storage(URL), Path("here/m/seed-0")
    for name in ("config.yaml", "x.safetensors"):
        there.write(f"m/seed-0/{name}", b"of the URL")
    copy, met = Copy(f"{URL}/m/seed-0", run), []
    with copy.leased():
        copy.take()
        assert contents(run).keys() == {"config.yaml", "x.safetensors"}
        look(URL, Path("here"))
        assert contents(run).keys() == {"config.yaml", "x.safetensors"}, "it was not begun yet"
        write(run / "summary.json", "{}", 1)
        look(URL, Path("here"))
        assert (run / "summary.json").exists(), "it has ended, and was not sent yet"
    monkeypatch.setattr(away, "LOOK", 0.0)
    true = Storage.fetch

    def fetch(storage: Storage, name: str, file: Path) -> None:
        if name == "m/seed-0/config.yaml":
            met.append(outcome_of(lambda: copy.leased().__enter__()).kind)
        true(storage, name, file)

    monkeypatch.setattr(Storage, "fetch", fetch)
    look(URL, Path("here"))
    assert contents(run).keys() == {"config.yaml"} and met == ["busy"]
    with copy.leased():
        pass


def test_one_worker_at_a_time_is_at_a_run(monkeypatch: Patch) -> None:
    one, two = Copy(f"{URL}/seed-0", Path("one/seed-0")), Copy(f"{URL}/seed-0", Path("two/seed-0"))
    with one.leased():
        with pytest.raises(BusyError, match=f"{URL}/seed-0 is in use by process {os.getpid()}"), two.leased():
            pass
        one.storage.write("seed-0.lease.json", lease(OTHER, time.time()))
        with pytest.raises(BusyError, match="was taken by another worker; nothing more is sent"):
            one.send()
    assert one.storage.read("seed-0.lease.json") is not None, "the other's"
    one.storage.write("seed-0.lease.json", lease(OTHER, time.time() - away.STALE - 1))
    with two.leased():
        pass
    assert one.storage.names() == []


def test_a_lease_is_renewed_and_one_of_a_process_that_has_ended_is_void(monkeypatch: Patch) -> None:
    monkeypatch.setattr(away, "BEAT", 0.01)
    copy = Copy(f"{URL}/seed-0", Path("seed-0"))
    with copy.leased():
        first = copy.storage.read("seed-0.lease.json")
        while copy.storage.read("seed-0.lease.json") == first:
            time.sleep(0.01)
    assert holder_of(lease(OTHER, time.time())) == "process 17 on another-machine, since now"
    assert holder_of(lease(replace(Owner.me(), pid=2**22 + 1), time.time())) is None
    assert holder_of(b"[]") is holder_of(None) is holder_of(b'{"owner": {"pid": "x"}}') is None


@pytest.mark.slow
def test_a_sweep_at_a_url_is_gone_on_with_on_another_machine(
    bucket: str, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, url = sweep_file(**ONE), f"{bucket}/big"
    (job,) = read_sweep(file).jobs(at_hand(url), url)
    true, count = KeptEpochs.epoch, iter(range(1, 100))

    def fails(self: KeptEpochs, training: object, report: object) -> None:
        true(self, training, report)  # type: ignore[arg-type]
        if next(count) == 3:
            raise UserError("the machine is gone")

    monkeypatch.setattr(KeptEpochs, "epoch", fails)
    assert call("sweep", file, "--output", url) == 2
    assert "1 failed" in output(capsys, "sweep", "status", url)
    monkeypatch.setattr(KeptEpochs, "epoch", true)
    shutil.rmtree("runs")
    text = output(capsys, "sweep", file, "--output", url)
    assert "resumed from task 1 of 2" in text and "finished in" in text
    assert "1 of 1 runs are finished" in output(capsys, "sweep", "status", url)
    assert not any(name.endswith(("lease.json", "failure.json")) for name in Storage(url).names())
    assert call("run", "--config", job.path / "config.yaml", "--output", "alone") == 0
    assert results(job.path) == results(Path("alone"))
    shutil.rmtree("runs")
    assert "before" in output(capsys, "sweep", file, "--output", url)
    assert results(job.path) == results(Path("alone")), "which report and predict read"
    again = Copy(str(job.url), Path("there/seed-0"))
    again.take()
    assert results(Path("there/seed-0")) == results(Path("alone"))


@pytest.mark.slow
def test_what_was_finished_and_not_sent_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    file = sweep_file(**ONE)
    (job,) = read_sweep(file).jobs(at_hand(URL), URL)
    assert call("sweep", file, "--output", URL) == 0
    Storage(URL).remove(f"{name_of(job, at_hand(URL))}/summary.json")
    whole = results(job.path)
    assert "1 stopped" in output(capsys, "sweep", "status", URL)
    assert "finished in" in output(capsys, "sweep", file, "--output", URL)
    assert "1 of 1 runs are finished" in output(capsys, "sweep", "status", URL)
    assert results(job.path) == whole


@pytest.mark.slow
def test_a_table_at_a_url_is_made_again_elsewhere_from_what_lies_there(capsys: pytest.CaptureFixture[str]) -> None:
    table = ("table", "8", *WHERE, *SMALL, "--rows", "1", "--output", URL)
    printed = output(capsys, *table)
    shutil.rmtree("runs")
    assert "none left" in output(capsys, *table, "--dry-run")
    again = output(capsys, *table)
    assert "before" in again and printed[printed.index("Table 8") :] == again[again.index("Table 8") :]
    assert {"table-8.json", "sweep.json"} <= set(Storage(URL).names())
    assert call("report", at_hand(URL)) == 0

"""A sweep at a URL: what a worker sends is what a folder would hold, and another machine goes on from it."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import fsspec
import pytest

from cli import call, contents, output, refused, results
from softtf.errors import UserError
from softtf.files.lock import BusyError, Owner
from softtf.runs.kept_epochs import KeptEpochs
from softtf.sweeps import away
from softtf.sweeps.away import AwayError, Copy, Storage, at_hand, holder_of, look
from softtf.sweeps.file import read_sweep
from softtf.sweeps.work import outcome_of
from support.sweeps import SETTINGS, sweep_file

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


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_files_come_back_from_a_url(kind: str, tmp_path: Path) -> None:
    storage = Storage(f"{kind}://{tmp_path}/a/b/")
    assert storage.names() == [] and storage.read("x.json") is None
    write(Path("here/deep/x.bin"), "1", 1)
    storage.send(Path("here/deep/x.bin"), "deep/x.bin")
    storage.write("y.json", b"2")
    assert sorted(storage.names()) == ["deep/x.bin", "y.json"] and storage.names("deep") == ["x.bin"]
    storage.fetch("deep/x.bin", Path("there/x.bin"))
    assert contents(Path("there")) == {"x.bin": b"1"} and storage.read("y.json") == b"2"
    storage.remove("y.json")
    storage.remove("y.json")
    assert storage.names() == ["deep/x.bin"]


def test_what_cannot_be_reached_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AwayError, match=r"chain of file systems .* give a plain URL"):
        Storage("simplecache::memory://x")
    assert "nosuch://x cannot be read or written (ValueError" in refused(capsys, "sweep", "status", "nosuch://x")
    assert outcome_of(lambda: Storage("nosuch://x") and None).kind == "killed", "which is tried again"


def test_a_command_that_writes_to_folders_refuses_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("run", "quickstart"), ("table", "6")):
        assert "s3:/b/x is a URL, where a file or folder" in refused(capsys, *words, "--output", "s3://b/x")
    assert not Path("s3:").exists()


def test_a_name_that_leads_elsewhere_is_refused(monkeypatch: Patch) -> None:
    storage = Storage(URL)
    monkeypatch.setattr(storage.files, "find", lambda folder: [f"{folder}/../../x"], raising=False)
    with pytest.raises(AwayError, match=r"holds '\.\./\.\./x', which no sweep has written"):
        storage.names()


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
    monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep_file(**ONE)
    (job,) = read_sweep(file).jobs(at_hand(URL), URL)
    true, count = KeptEpochs.epoch, iter(range(1, 100))

    def fails(self: KeptEpochs, training: object, report: object) -> None:
        true(self, training, report)  # type: ignore[arg-type]
        if next(count) == 3:
            raise UserError("the machine is gone")

    monkeypatch.setattr(KeptEpochs, "epoch", fails)
    assert call("sweep", file, "--output", URL) == 2
    assert "1 failed" in output(capsys, "sweep", "status", URL)
    monkeypatch.setattr(KeptEpochs, "epoch", true)
    shutil.rmtree("runs")
    text = output(capsys, "sweep", file, "--output", URL)
    assert "resumed from task 1 of 2" in text and "finished in" in text
    assert "1 of 1 runs are finished" in output(capsys, "sweep", "status", URL)
    assert not any(name.endswith(("lease.json", "failure.json")) for name in Storage(URL).names())
    assert call("run", "--config", job.path / "config.yaml", "--output", "alone") == 0
    assert results(job.path) == results(Path("alone"))
    shutil.rmtree("runs")
    assert "before" in output(capsys, "sweep", file, "--output", URL)
    assert results(job.path) == results(Path("alone")), "which report and predict read"
    again = Copy(str(job.url), Path("there/seed-0"))
    again.take()
    assert results(Path("there/seed-0")) == results(Path("alone"))

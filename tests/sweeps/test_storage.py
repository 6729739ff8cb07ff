"""Files at a URL: what was sent comes back, and what cannot be reached is one line."""

import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from cli import contents
from softtf.sweeps.storage import AwayError, Storage
from softtf.sweeps.work import outcome_of

Patch = pytest.MonkeyPatch
URL = "memory://sweeps/big"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: Patch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("kind", ["memory", "file", pytest.param("s3", marks=pytest.mark.slow)])
def test_files_come_back_from_a_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue("bucket") if kind == "s3" else f"{kind}://{tmp_path}"
    storage = Storage(f"{place}/a/b/")
    assert storage.names() == [] and storage.read("x.json") is None
    Path("here/deep").mkdir(parents=True)
    Path("here/deep/x.bin").write_text("1")
    storage.send(Path("here/deep/x.bin"), "deep/x.bin")
    storage.write("y.json", b"2")
    assert sorted(storage.names()) == ["deep/x.bin", "y.json"] and storage.names("deep") == ["x.bin"]
    storage.fetch("deep/x.bin", Path("there/x.bin"))
    assert contents(Path("there")) == {"x.bin": b"1"} and storage.read("y.json") == b"2"
    storage.remove("y.json")
    storage.remove("y.json")
    assert storage.names() == ["deep/x.bin"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError("down"), "away"), (FileNotFoundError("no bucket"), "away"), (PermissionError("denied"), "failed")],
)
def test_only_a_storage_that_may_come_back_is_tried_again(error: OSError, kind: str, monkeypatch: Patch) -> None:
    def fails(*_: str) -> None:
        raise error

    storage = Storage(URL)
    monkeypatch.setattr(storage.files, "put_file", fails)
    found = outcome_of(lambda: storage.send(Path("x"), "x"))
    assert found.kind == kind
    assert f"{URL} cannot be read or written on {socket.gethostname()} ({type(error).__name__}" in found.reason


def test_a_name_that_leads_elsewhere_is_refused(monkeypatch: Patch) -> None:
    storage = Storage(URL)
    monkeypatch.setattr(storage.files, "find", lambda folder, detail: {f"{folder}/../../x": {}}, raising=False)
    with pytest.raises(AwayError, match=r"holds '\.\./\.\./x', which no sweep has written"):
        storage.names()

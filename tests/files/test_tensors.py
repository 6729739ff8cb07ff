import errno
import hashlib
import json
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softtf.errors import UserError
from softtf.files import tensors as store
from support.limits import linux
from support.tracing import Traced

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64])


# --- write_atomic


@pytest.mark.parametrize("data", [b"", b"a\r\n\x00", "zwölf\nÄpfel"])
def test_what_is_written_is_what_was_given(tmp_path: Path, data: bytes | str) -> None:
    path = tmp_path / "new" / "file"
    store.write_atomic(path, b"longer content that was there before")
    store.write_atomic(path, data)
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode("utf-8"))
    assert os.listdir(path.parent) == ["file"]


def no_space(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk:
    """A file that takes three bytes and then is full."""

    def __init__(self, path: Path, mode: str, **options: Any) -> None:
        self.file = open(path, mode)  # noqa: SIM115

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[:3])
        no_space()


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, existed: bool
) -> None:
    path = tmp_path / "config.yaml"
    if existed:
        path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(store, "open", FullDisk, raising=False)
        else:
            patch.setattr(os, where, no_space)
        with pytest.raises(UserError) as caught:
            store.write_atomic(path, "new content")
    expected = f"could not write {path}: No space left on device; what was saved before is intact"
    assert str(caught.value) == expected
    left = [(p.name, p.read_bytes()) for p in tmp_path.iterdir()]
    assert left == ([("config.yaml", b"old")] if existed else [])


def test_an_interrupt_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write_atomic(tmp_path / "f", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def spy_replace(a: Path, b: Path) -> None:
        events.append("replace")
        assert a.parent == b.parent and a.read_bytes() == b"x" * 100_000
        replace(a, b)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    store.write_atomic(tmp_path / "f", b"x" * 100_000)
    assert events == ["file", "replace", "folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_only_a_folder_that_cannot_be_synced_at_all_is_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync = os.fsync

    def fail_on_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_on_folders)
    if number == errno.EINVAL:
        store.write_atomic(tmp_path / "f", b"new")
    else:
        with pytest.raises(UserError, match="wrote .*f, but the disk did not confirm it: Input/output error"):
            store.write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_folder_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "f" / "full").mkdir(parents=True)
    with pytest.raises(UserError, match="could not write .*f: "):
        store.write_atomic(tmp_path / "f", b"")
    assert os.listdir(tmp_path) == ["f"]


# --- tensors


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    shapes = st.lists(st.integers(0, 4), max_size=3)
    names = draw(st.lists(st.text("abc.0é", min_size=1), unique=True, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return {n: torch.randn(draw(shapes), generator=generator).mul(3).to(draw(dtypes)) for n in names}


@same_folder
@given(tensors(), st.dictionaries(st.text("abcé"), st.text(), max_size=3))
def test_saved_tensors_come_back_bit_for_bit(
    tmp_path: Path, saved: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "t.safetensors"
    digest = store.save_tensors(path, saved, metadata)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = store.load_tensors(path, digest)
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name], tensor)
    assert store.load_metadata(path) == metadata


def test_what_shares_no_memory_is_not_copied_to_be_saved(tmp_path: Path) -> None:
    large, shared = torch.arange(1000.0), torch.arange(3.0)
    with Traced() as traced:
        store.save_tensors(tmp_path / "x", {"large": large, "a": shared, "b": shared, "column": shared[:, None]})
    assert traced.copied == 3
    assert torch.equal(store.load_tensors(tmp_path / "x")["large"], large)


def test_views_shared_and_learnable_tensors_are_saved_by_value(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    last = torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last)
    store.save_tensors(tmp_path / "t", {"w": weight, "tied": weight, "turned": weight.T, "last": last})
    loaded = store.load_tensors(tmp_path / "t")
    assert loaded["w"].tolist() == loaded["tied"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(loaded["last"], last)
    assert store.load_metadata(tmp_path / "t") == {}


@same_folder
@given(st.data())
def test_a_damaged_file_is_never_taken_for_the_saved_one(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t"
    digest = store.save_tensors(path, {"a": torch.arange(5.0), "b": torch.ones(2, 2)})
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[position] ^ data.draw(st.integers(1, 255))])
    for damaged in (whole[:position] + flipped + whole[position + 1 :], whole[:position], whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=str(path)) as caught:
            store.load_tensors(path, digest)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[:position])
    with pytest.raises(UserError, match="truncated"):
        store.load_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for load in (store.load_tensors, store.load_metadata):
        with pytest.raises(UserError, match="could not read .*nothing: No such file"):
            load(tmp_path / "nothing")


def test_another_file_than_the_one_named_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    first = store.save_tensors(path, {"a": torch.zeros(1)})
    second = store.save_tensors(path, {"a": torch.ones(1)})
    with pytest.raises(UserError) as caught:
        store.load_tensors(path, first)
    assert all(part in str(caught.value) for part in (str(path), first, second))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("how", [2, 3, 4, 5, "zip", "legacy"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: int | str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "task.bin"
    if isinstance(how, int):
        path.write_bytes(pickle.dumps({"w": Bomb()}, protocol=how))
    else:
        torch.save({"w": Bomb()}, path, _use_new_zipfile_serialization=how == "zip")
    for load in (store.load_tensors, store.load_metadata):
        with pytest.raises(UserError, match="task.bin is a pickle; softtf never unpickles"):
            load(path)
    assert not (tmp_path / "exploded").exists()


def test_a_header_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    path, found = tmp_path / "t", False
    for length in range(700):  # one of these headers is 0x280 bytes long, whose first bytes are 80 02
        store.save_tensors(path, {"a": torch.ones(2)}, {"note": "x" * length})
        if path.read_bytes().startswith(b"\x80\x02"):
            found = True
            assert torch.equal(store.load_tensors(path)["a"], torch.ones(2))
            path.write_bytes(path.read_bytes()[:-1])
            with pytest.raises(UserError, match="truncated"):
                store.load_tensors(path)
            break
    assert found


@pytest.mark.slow
@linux
def test_a_large_file_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    zeros, other = tmp_path / "zeros", tmp_path / "other"
    zeros.touch()
    head = json.dumps({"a": {"dtype": "U8", "shape": [2**28], "data_offsets": [0, 2**28]}}).encode()
    other.write_bytes(len(head).to_bytes(8, "little") + head)
    for path in (zeros, other):
        os.truncate(path, path.stat().st_size + 2**28)  # of zeros that take no disk
    tracemalloc.start()
    try:
        for path in (zeros, other):
            for read in (store.load_tensors, store.map_tensors):
                with pytest.raises(UserError, match="is not the file that was saved"):
                    read(path, "0" * 64)
        with pytest.raises(UserError, match="zeros is truncated or not a safetensors file"):
            store.load_tensors(zeros)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


# --- inside


@pytest.mark.parametrize("name", ["a.safetensors", "tasks/000.safetensors", "...", "a..b", "é ü"])
def test_plain_names_are_inside(tmp_path: Path, name: str) -> None:
    assert store.inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "./", "..", "../x", "a/../../x", "a/../b", "/etc/passwd", "a\\b", "..\\x", "C:x"] + ["C:\\x", "a\0b", 3],
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not the name of a file in"):
        store.inside(tmp_path, name)


def test_links_may_not_lead_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "file").write_bytes(b"")
    (tmp_path / "run2").mkdir()
    (folder / "good").symlink_to(folder / "file")
    (folder / "out").symlink_to(tmp_path / "run2")
    (folder / "itself").symlink_to(folder)
    assert store.inside(folder, "good") == folder / "good"
    for name in ("out", "out/x", "itself"):
        with pytest.raises(UserError, match=name):
            store.inside(folder, name)


@pytest.mark.slow
def test_a_header_asks_for_no_memory_that_the_file_does_not_have(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"

    def write(tensors: Any, body: bytes = b"", length: int | None = None, room: int = 0) -> None:
        header = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
        file.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + body)
        if room:
            os.truncate(file, room)  # sparse

    for options in [
        {"tensors": {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}},
        {"tensors": {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}}},
        {"tensors": {}, "length": 2**63},
        {"tensors": b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"},
        {"tensors": b"{" + b" " * 2**22 + b"}"},
        {"tensors": {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(99_999)}},
        {"tensors": {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}, "room": 2**40},
    ]:
        write(**options)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if file.stat().st_size < 2**30 else "0"
        for read in (store.load_tensors, store.load_metadata, lambda path, sha=sha256: store.map_tensors(path, sha)):
            tracemalloc.start()
            with pytest.raises(UserError, match=r"x.safetensors") as caught:
                read(file)
            assert tracemalloc.get_traced_memory()[1] < 2**24 and "\n" not in str(caught.value)
            tracemalloc.stop()


def test_what_somebody_made_long_in_a_header_is_not_told_in_full(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": ["y" * 10**6], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "f.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UserError, match="not a safetensors file") as caught:
        store.load_tensors(tmp_path / "f.safetensors")
    assert len(str(caught.value)) < 1000

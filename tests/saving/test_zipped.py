"""A learner in one file: the same bytes, and nothing of a hostile archive leaves the folder or grows."""

import io
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from softtf.errors import UserError
from softtf.saving import zipped
from softtf.saving.zipped import pack, unpack
from support.folders import load
from support.tiny import assert_same, snapshot


@pytest.fixture(scope="module")
def archive(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zips")
    load(saved).save_pretrained(folder / "learner")
    pack(folder / "learner", folder / "learner.zip")
    return folder / "learner.zip"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_what_is_packed_comes_back_and_loads_by_itself(archive: Path, saved: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "new")
    assert contents(tmp_path / "new") == contents(archive.with_suffix(""))
    for place in (tmp_path / "new", archive):
        for limit in (None, 0):
            assert_same(snapshot(load(place, memory_limit=limit).learner), snapshot(load(saved).learner))


@pytest.mark.slow
def test_the_same_learner_gives_the_same_file_wherever_it_came_from(archive: Path, saved: Path, tmp_path: Path) -> None:
    load(saved, tasks=1).save_pretrained(tmp_path / "again")
    load(saved).save_pretrained(tmp_path / "again", replace=True)  # its files have other names
    (tmp_path / "again" / "notes.txt").write_text("mine")
    shutil.copytree(archive.with_suffix(""), tmp_path / "copy")
    pack(tmp_path / "copy", tmp_path / "copy.zip")
    pack(tmp_path / "again", tmp_path / "again.zip")
    pack(saved, tmp_path / "run.zip")  # without a manifest
    assert (tmp_path / "copy.zip").read_bytes() == archive.read_bytes()
    for name in ("again.zip", "run.zip"):
        assert_same(snapshot(load(tmp_path / name).learner), snapshot(load(saved).learner))
    assert "notes.txt" not in zipfile.ZipFile(tmp_path / "again.zip").namelist()


def test_what_is_no_learner_or_there_already_is_refused(archive: Path, tmp_path: Path) -> None:
    folder = archive.with_suffix("")
    with pytest.raises(UserError, match="exists"):
        pack(folder, archive)
    with pytest.raises(UserError):
        pack(tmp_path, tmp_path / "new.zip")
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / "task-002.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="not the file that was saved"):
        pack(tmp_path / "broken", tmp_path / "new.zip")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        unpack(archive, tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "full"]


def copied(archive: Path, extra: Callable[[zipfile.ZipFile], object], leave: str = "", **options: int) -> bytes:
    """The archive with more in it, or without a file."""
    out = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w", **options) as new:  # type: ignore[call-overload]
        for info in old.infolist():
            if info.filename != leave:
                new.writestr(info.filename, old.read(info))
        extra(new)
    return out.getvalue()


def a_link(new: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("task-009.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    new.writestr(info, "/etc/passwd")


def named(name: str) -> Callable[[zipfile.ZipFile], object]:
    return lambda new: new.writestr(zipfile.ZipInfo(name), "x")


def twice(new: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        new.writestr("manifest.json", "{}")


def nothing(new: zipfile.ZipFile) -> None:
    pass


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "a path out of the folder": lambda a: copied(a, named("../task-009.json")),
    "an absolute path": lambda a: copied(a, named("/tmp/task-009.json")),
    "a folder": lambda a: copied(a, named("model/task-009.json")),
    "a drive": lambda a: copied(a, named("C:task-009.json")),
    "code": lambda a: copied(a, named("evil.py")),
    "an empty name": lambda a: copied(a, named("")),
    "a link": lambda a: copied(a, a_link),
    "a name twice": lambda a: copied(a, twice),
    "a bomb": lambda a: copied(a, named("task-009.json"), compression=zipfile.ZIP_DEFLATED),
    "a file too many": lambda a: copied(a, named("task-009.json")),
    "a part too few": lambda a: copied(a, nothing, leave="task-001.safetensors"),
    "no manifest and no header": lambda a: copied(a, nothing, leave="learner.json"),
    "half of it": lambda a: a.read_bytes()[: len(a.read_bytes()) // 2],
    "no zip": lambda a: b"x" * 1000,
    "empty": lambda a: b"",
    "a changed byte": lambda a: a.read_bytes()[:5000] + b"?" + a.read_bytes()[5001:],
    "a long list": lambda a: a.read_bytes()[:-10] + struct.pack("<I", 2**31) + a.read_bytes()[-6:],
    "files that overlap": lambda a: overlapping(a),
}


def overlapping(archive: Path) -> bytes:
    """Every entry of the list says that it is the largest file, at its place."""
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        large = max(opened.infolist(), key=lambda info: info.file_size)
        start = opened.start_dir
    while data[start : start + 4] == b"PK\1\2":
        struct.pack_into("<LLL", data, start + 16, large.CRC, 2**20, 2**20)
        struct.pack_into("<L", data, start + 42, large.header_offset)
        start += 46 + sum(struct.unpack_from("<HHH", data, start + 28))
    return bytes(data)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line_and_leaves_nothing(kind: str, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "hostile.zip"
    file.write_bytes(HOSTILE[kind](archive))
    for use in (lambda: unpack(file, tmp_path / "in" / "new"), lambda: load(file)):
        with pytest.raises(UserError) as caught:
            use()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert os.listdir(tmp_path) == ["in"] and os.listdir(tmp_path / "in") == ["hostile.zip"]


def test_too_many_files_are_refused(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MOST_FILES", 3)
    with pytest.raises(UserError, match="at most 3 are read"):
        unpack(archive, tmp_path / "new")

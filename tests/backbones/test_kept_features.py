"""The folder of kept features stays below its limit, the least recently used go first, and nothing else is touched."""

import os
from pathlib import Path

import pytest

from softtf.backbones.features import fixed_queries
from softtf.backbones.kept_features import cache_folder, cache_limit, clear, feature_files, trim
from support.counting import Notes, backbone_of, loader_of


def filled(folder: Path, count: int = 4) -> list[Path]:
    """Files of 100 bytes, the oldest first."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:064x}.safetensors" for number in range(count)]
    for age, file in enumerate(files):
        file.write_bytes(bytes(100))
        os.utime(file, (age, age))
    return files


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    files = filled(tmp_path)
    os.utime(files[0])
    assert trim(tmp_path, 400) == 0
    assert trim(tmp_path, 250) == 2 and list(feature_files(tmp_path).items()) == [(files[3], 100), (files[0], 100)]
    assert trim(tmp_path, 0) == 2 and feature_files(tmp_path) == {}


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    files = filled(tmp_path / "features")
    other = tmp_path / "elsewhere"
    other.write_bytes(b"mine")
    link, note = files[0].with_name("f" * 64 + ".safetensors"), files[0].with_name("note.txt")
    link.symlink_to(other)
    note.write_text("mine")
    files[0].with_name(".host-1-0-abc.tmp").write_bytes(b"")
    assert clear(tmp_path / "features") == 4
    assert sorted(p.name for p in (tmp_path / "features").iterdir()) == [link.name, note.name] and other.exists()
    assert clear(tmp_path / "no folder") == 0


def test_the_limit_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for text, limit in {"": 20e9, "1.5": 1.5e9, "0": 0.0, "-1": 20e9, "lots": 20e9, "nan": 20e9}.items():
        monkeypatch.setenv("SOFTTF_CACHE_GB", text)
        assert cache_limit(said.append) == limit
    assert len(said) == 3 and "from 0 on, not 'lots'" in said[1]
    monkeypatch.setenv("SOFTTF_CACHE", "/somewhere")
    assert cache_folder(None, said.append) == Path("/somewhere") and cache_folder("off", said.append) is None
    monkeypatch.setenv("SOFTTF_CACHE", "off")  # no folder of this name in the working directory
    assert cache_folder(None, said.append) is None and cache_folder("mine", said.append) == Path("mine")


def test_what_a_store_writes_stays_below_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, notes = backbone_of(), Notes()
    store = notes.store(tmp_path / "kept", backbone)
    fixed_queries(backbone, loader_of(), store)
    (file,) = feature_files(tmp_path / "kept")
    os.utime(file, (1, 1))
    fixed_queries(backbone, loader_of(), store)
    assert file.stat().st_mtime > 1, "it was used"
    monkeypatch.setenv("SOFTTF_CACHE_GB", "0")
    file.unlink()
    fixed_queries(backbone, loader_of(), store)
    assert feature_files(tmp_path / "kept") == {} and not notes

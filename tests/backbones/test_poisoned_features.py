"""A cache of features that somebody else could write changes no answer unnoticed, and nobody else can read it."""

import os
from pathlib import Path

import pytest
import torch

from softtf.backbones.feature_store import Queries
from softtf.backbones.features import PROBES, fixed_queries
from support.counting import COUNT, Notes, backbone_of, kept, loader_of
from support.tiny import pictures

KEY = "SOFTTF_CACHE_KEY"


def poisoned(queries: Queries) -> Queries:
    """Features that are wrong but where a check at fixed places, as there was one, would look."""
    values = queries.values.flip(0).clone()
    right = torch.linspace(0, len(values) - 1, PROBES).long()
    values[right] = queries.values[right]
    return Queries(values, queries.seconds)


def found(folder: Path, notes: Notes) -> Queries:
    backbone = backbone_of()
    return fixed_queries(backbone, loader_of(), notes.store(folder, backbone))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_somebody_with_another_key_wrote_is_computed_again_and_said(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, queries = kept(tmp_path / "kept", notes)
    with monkeypatch.context() as patch:
        patch.setenv(KEY, str(tmp_path / "another"))
        notes.store(tmp_path / "kept", backbone_of()).write(file, poisoned(queries))
    again = found(tmp_path / "kept", notes)
    assert torch.equal(again.values, queries.values) and not again.from_disk
    assert len(notes) == 1 and "signed with another key" in notes[0] and str(file) in notes[0]
    assert found(tmp_path / "kept", notes).from_disk and len(notes) == 1


def test_a_file_under_the_name_of_another_is_computed_again_and_said(tmp_path: Path, notes: Notes) -> None:
    file, queries = kept(tmp_path, notes)
    other = file.with_name("0" * 64 + ".safetensors")
    notes.store(tmp_path, backbone_of()).write(other, poisoned(queries))
    other.replace(file)
    again = found(tmp_path, notes)
    assert torch.equal(again.values, queries.values) and not again.from_disk and len(notes) == 1


def test_what_is_computed_again_is_drawn_anew_each_time(tmp_path: Path, notes: Notes) -> None:
    """Even with the key, wrong features are found out sooner or later; at fixed places never."""
    file, queries = kept(tmp_path, notes)
    notes.store(tmp_path, backbone_of()).write(file, poisoned(queries))
    for _ in range(50):
        if not found(tmp_path, notes).from_disk:
            break
    assert len(notes) == 1 and "not what this backbone computes" in notes[0]


def test_few_inputs_are_all_computed_again(tmp_path: Path, notes: Notes) -> None:
    for _ in range(2):
        backbone = backbone_of()
        fixed_queries(backbone, loader_of(pictures(PROBES - 1)), notes.store(tmp_path, backbone))
        assert len(backbone.seen) == PROBES - 1
    assert not notes


@pytest.mark.skipif(os.name == "nt", reason="folders of users are closed there as they are")
def test_files_and_folders_are_their_owners_alone(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, str(tmp_path / "mine/key"))
    before = os.umask(0)
    try:
        file, _ = kept(tmp_path / "new/kept", notes)
        (tmp_path / "open").mkdir(0o777)
        kept(tmp_path / "open", notes)
        (tmp_path / "mixed").mkdir(0o755)
        (tmp_path / "mixed/thesis.tex").write_text("mine")
        found(tmp_path / "mixed", notes)
    finally:
        os.umask(before)
    assert [mode(p) for p in (file, file.parent, tmp_path / "mine/key", tmp_path / "open")] == [
        *(0o600, 0o700, 0o600, 0o700),
    ]
    assert mode(tmp_path / "mixed") == 0o755, "what else is in it may be for others"
    (in_mixed,) = (tmp_path / "mixed").glob("*.safetensors")
    assert mode(in_mixed) == 0o600 and not notes


@pytest.mark.skipif(os.name == "nt", reason="files have no such owner there")
def test_a_folder_of_another_user_is_not_used_and_that_is_said(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, queries = kept(tmp_path, notes)
    before = file.read_bytes()
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    again = found(tmp_path, notes)
    assert torch.equal(again.values, queries.values) and not again.from_disk
    assert len(notes) == 1 and f"{tmp_path} belongs to another user" in notes[0] and "in memory only" in notes[0]
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("key", ["open to others", "short", "a folder", "no full path"])
def test_a_key_that_is_none_keeps_features_in_memory_and_is_said(
    key: str, tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    monkeypatch.setenv(KEY, "key" if key == "no full path" else str(file))
    if key == "a folder":
        file.mkdir()
    else:
        file.write_bytes(b"k" * (3 if key == "short" else 32))
        file.chmod(0o644 if key == "open to others" else 0o600)
    assert len(found(tmp_path / "kept", notes).values) == COUNT
    assert len(notes) == 1 and "key" in notes[0] and "in memory only" in notes[0]
    assert not list((tmp_path / "kept").iterdir())

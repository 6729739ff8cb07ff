"""Features on disk: never from a damaged file, never half a file; and a full disk stops nobody."""

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from softtf.backbones import features
from softtf.backbones.feature_store import FeatureStore, Queries, open_store
from softtf.backbones.features import fixed_queries
from softtf.backbones.timm_vit import TimmViT
from softtf.errors import UserError
from softtf.files import tensors as store_module
from softtf.files.temporary import HOST
from softtf.streams import Loader
from support.counting import COUNT, Notes, backbone_of, image_files, kept, loader_of
from support.stopping import Killer
from support.tiny import pictures


def flip(place: float) -> Callable[[bytes, Path], bytes]:
    def damage(data: bytes, file: Path) -> bytes:
        at = min(int(place * len(data)), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return damage


def signed(file: Path, **tensors: torch.Tensor) -> bytes:
    signature = FeatureStore(file.parent, "hash", print)._signature(file, tensors)
    return safetensors.torch.save({**tensors, "signature": torch.tensor(list(signature), dtype=torch.uint8)})


def other_shape(data: bytes, file: Path) -> bytes:
    tensors = safetensors.torch.load(data)
    return signed(file, values=tensors["values"][:-1].contiguous(), seconds=tensors["seconds"])


def without_seconds(data: bytes, file: Path) -> bytes:
    return signed(file, values=safetensors.torch.load(data)["values"])


def with_other_signature(data: bytes, file: Path) -> bytes:
    return safetensors.torch.save(safetensors.torch.load(data) | {"signature": torch.zeros(16, dtype=torch.bfloat16)})


def without_checksum(data: bytes, file: Path) -> bytes:
    return safetensors.torch.save({k: v for k, v in safetensors.torch.load(data).items() if k != "signature"})


DAMAGE: dict[str, Callable[[bytes, Path], bytes]] = {
    "empty": lambda data, file: b"",
    "cut off": lambda data, file: data[:-5],
    "half": lambda data, file: data[: len(data) // 2],
    "longer": lambda data, file: data + b"\0" * 8,
    "flip in the length": flip(0),
    "flip in the middle": flip(0.5),
    "flip at the end": flip(1),
    "pickle": lambda data, file: b"\x80\x04\x95" + data,
    "zip": lambda data, file: b"PK\x03\x04" + data,
    "text": lambda data, file: b"no tensors at all",
    "zeros": lambda data, file: b"\0" * len(data),
    "no checksum": without_checksum,
    "other checksum": with_other_signature,
    "other shape": other_shape,
    "no seconds": without_seconds,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_computed_anew_and_replaced(kind: str, tmp_path: Path, notes: Notes) -> None:
    file, first = kept(tmp_path, notes)
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[kind](whole, file))
    backbone = backbone_of()
    again = fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone))
    assert torch.equal(again.values, first.values) and not again.from_disk
    assert len(notes) == 1 and str(file) in notes[0] and "\n" not in notes[0]
    healed = fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone))
    assert torch.equal(healed.values, first.values) and healed.from_disk and len(notes) == 1


def test_no_flipped_bit_is_ever_believed(tmp_path: Path, notes: Notes) -> None:
    file, first = kept(tmp_path, notes)
    store, whole = notes.store(tmp_path, backbone_of()), file.read_bytes()
    places = [*range(0, len(whole) - first.values.nbytes), *range(len(whole) - 1, 0, -997)]  # all of the header
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = store.read(file, tuple(first.values.shape))
        assert found is None or (torch.equal(found.values, first.values) and found.seconds == first.seconds)
    assert len(notes) > 0.8 * len(places)


# --- And no trouble with files stops anyone ---------------------------------------------------------------------


def full_disk(*args: Any) -> None:
    raise OSError(28, os.strerror(28))


def test_a_full_disk_is_noted_once(tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module.os, "replace", full_disk)
    backbone = backbone_of()
    store = notes.store(tmp_path, backbone)
    for images in (pictures(5), pictures(6)):
        found = fixed_queries(backbone, loader_of(images), store)
        assert torch.equal(found.values, fixed_queries(backbone, loader_of(images)).values)
    assert len(notes) == 1 and "No space left on device" in notes[0] and "in memory only" in notes[0]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_noted(tmp_path: Path, notes: Notes) -> None:
    (tmp_path / "file").write_text("no folder")
    backbone = backbone_of()
    found = fixed_queries(backbone, loader_of(), notes.store(tmp_path / "file/features", backbone))
    assert found.values.shape == (COUNT, 32) and len(notes) == 1


def test_a_folder_in_the_place_of_a_file_is_noted(tmp_path: Path, notes: Notes) -> None:
    file, first = kept(tmp_path, notes)
    file.unlink()
    file.mkdir()
    backbone = backbone_of()
    assert (
        torch.equal(fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone)).values, first.values)
        and len(notes) == 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True])
def test_killed_at_any_file_it_leaves_no_wrong_one(torn: bool, tmp_path: Path, notes: Notes) -> None:
    backbone, kills = backbone_of(), 0
    fresh = fixed_queries(backbone, loader_of())
    for number in range(20):
        folder = tmp_path / str(number)
        process = os.fork()
        if process == 0:
            try:
                sys.addaudithook(Killer(folder, number, torn))  # type: ignore[arg-type]
                kept(folder, notes)
                os._exit(0)
            finally:
                os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, -signal.SIGKILL)
        found = fixed_queries(backbone, loader_of(), notes.store(folder, backbone))
        assert torch.equal(found.values, fresh.values) and found.from_disk >= (code == 0) and not notes
        assert [p.suffix for p in folder.iterdir()] == [".safetensors"]  # what it left half written is gone
        kills += code != 0
    assert 2 < kills < 20


def test_many_that_write_at_once_do_each_other_no_harm(tmp_path: Path, notes: Notes) -> None:
    def one(backbone: TimmViT) -> torch.Tensor:
        return fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone)).values

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, [backbone_of() for _ in range(16)]))
    assert all(torch.equal(values, found[0]) for values in found) and not notes
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]


def test_what_others_are_writing_is_left_to_them(tmp_path: Path, notes: Notes) -> None:
    mine, gone = (f"{HOST}-{pid}-0123456789ab" for pid in (os.getpid(), 2**22 + 1))
    elsewhere = "elsewhere-1-0123456789ab"
    for name in (mine, gone, elsewhere):
        (tmp_path / f"{name}.part").write_bytes(b"half a file")
        (tmp_path / f".{name}.tmp").write_bytes(b"half a file")
    backbone = backbone_of()
    fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone))
    left = {p.name for p in tmp_path.iterdir() if p.suffix != ".safetensors"}
    assert left == {f"{mine}.part", f".{mine}.tmp", f"{elsewhere}.part", f".{elsewhere}.tmp"} and not notes


def test_an_input_that_cannot_be_read_is_named_as_ever(tmp_path: Path, notes: Notes) -> None:
    backbone = backbone_of()
    for rows in ([np.zeros((5, 5, 7), np.uint8)], [tmp_path / "gone.png"]):
        with pytest.raises(UserError, match=r"data\[0\]"):
            fixed_queries(backbone, loader_of(rows), notes.store(tmp_path, backbone))


def test_where_they_are_kept(tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(setting: str | None) -> Path | None:
        store = open_store(setting, "hash", notes.append)
        return store and store.folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SOFTTF_CACHE")
    assert folder(None) == tmp_path / ".cache/softtf/features"
    assert folder("~/mine") == tmp_path / "mine" and folder("off") is None
    monkeypatch.setenv("SOFTTF_CACHE", str(tmp_path / "set"))
    assert folder(None) == tmp_path / "set" and folder("here") == Path("here")
    assert folder("~no-such-user/x") is None and len(notes) == 1 and "in memory" in notes[0]


def test_pixels_that_a_loader_remembers_are_not_taken_for_those_of_a_changed_file(tmp_path: Path, notes: Notes) -> None:
    files, backbone = image_files(tmp_path / "images"), backbone_of()
    loader = loader_of(files)
    list(loader.batches())  # it remembers them now
    files[3].write_bytes(files[4].read_bytes())
    found = fixed_queries(backbone, loader, notes.store(tmp_path / "kept", backbone))
    torch.testing.assert_close(found.values, fixed_queries(backbone, loader_of(files)).values)


def test_inputs_that_change_meanwhile_are_not_kept(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, backbone = image_files(tmp_path / "images"), backbone_of()
    true_compute = features._compute

    def compute(backbone: TimmViT, loader: Loader, on_step: features.OnStep) -> Queries:
        queries = true_compute(backbone, loader, on_step)
        files[3].write_bytes(files[4].read_bytes())
        return queries

    monkeypatch.setattr(features, "_compute", compute)
    fixed_queries(backbone, loader_of(files), notes.store(tmp_path / "kept", backbone))
    assert len(notes) == 1 and "changed" in notes[0] and not (tmp_path / "kept").exists()

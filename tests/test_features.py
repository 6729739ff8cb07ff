"""Fixed queries: equal to fresh ones, never another's, never from a damaged file; and a full disk stops nobody."""

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from cli.test_crash import Killer
from contracts.tiny import MEAN, STD, assert_same, pictures, snapshot, tiny_backbone, tiny_vit
from references.vit import vit_forward
from softtf import features
from softtf import store as store_module
from softtf.adaptations import SoftMask
from softtf.backbones.timm_vit import TimmViT
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.features import BATCH, PROBES, FeatureStore, FixedQueries, Queries, fixed_queries, open_store
from softtf.learners import DualPrompt, LinearHead
from softtf.streams import Examples, ImagePreparation, Loader
from softtf.streams.preparation import TrainingInputs
from softtf.training import TrainConfig

COUNT = BATCH + 6


def backbone_of(vit: VisionTransformer | None = None, mean: Any = MEAN, std: Any = STD) -> TimmViT:
    """A tiny backbone in float32 that counts the examples it is run on."""
    backbone = TimmViT(vit or tiny_vit(), "tiny", mean, std)
    true_embed, backbone.seen = backbone.embed, []

    def embed(inputs: torch.Tensor) -> Any:
        backbone.seen += [1] * len(inputs)
        return true_embed(inputs)

    backbone.embed = embed  # type: ignore[method-assign]
    return backbone


def loader_of(
    rows: Any = None, preparation: Any = None, batch_size: int = 7, labels: Any = None, device: str = "cpu"
) -> Loader:
    rows = pictures(COUNT) if rows is None else rows
    examples = Examples(list(rows), labels or [0] * len(rows))
    unread = torch.zeros(len(rows), dtype=torch.int64)
    return Loader(examples, unread, preparation or ImagePreparation(16), False, batch_size, device)


class Notes(list[str]):
    """A store's notes."""

    def store(self, folder: Path, backbone: TimmViT) -> FeatureStore:
        return FeatureStore(folder, backbone.weights_hash(), self.append)


@pytest.fixture
def notes() -> Notes:
    return Notes()


def kept(folder: Path, notes: Notes) -> tuple[Path, Queries]:
    """The file of the usual queries, and these."""
    backbone = backbone_of()
    queries = fixed_queries(backbone, loader_of(), notes.store(folder, backbone))
    (file,) = folder.iterdir()
    return file, queries


# --- They are the backbone's ------------------------------------------------------------------------------------


def test_they_are_the_reference_features_of_the_test_inputs_in_order() -> None:
    preparation, backbone = ImagePreparation(16), tiny_backbone()
    found = fixed_queries(backbone, loader_of())
    loaded = torch.stack([preparation.load_test(p, "") for p in pictures(COUNT)])
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in (MEAN, STD))
    expected = vit_forward(backbone.vit, (loaded.double() / 255 - mean) / std)[0]
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-6)  # the batch of inputs is float32
    assert found.seconds > 0 and not found.from_disk
    assert fixed_queries(backbone_of(), loader_of()).values.dtype == torch.float32


def test_neither_the_callers_batch_size_nor_the_disk_changes_a_bit(tmp_path: Path, notes: Notes) -> None:
    _, first = kept(tmp_path, notes)
    backbone = backbone_of()
    for batch_size in (1, 50, 500):
        assert torch.equal(fixed_queries(backbone, loader_of(batch_size=batch_size)).values, first.values)
    backbone.seen.clear()
    again = fixed_queries(backbone, loader_of(batch_size=50), notes.store(tmp_path, backbone))
    assert torch.equal(again.values, first.values) and again.seconds == first.seconds and again.from_disk
    assert len(backbone.seen) == PROBES and not notes and len(list(tmp_path.iterdir())) == 1


def test_they_are_had_once_per_number_type() -> None:
    backbone = backbone_of()
    queries = FixedQueries(backbone, loader_of())
    assert not backbone.seen
    exact = queries.get()
    assert queries.get() is exact and len(backbone.seen) == COUNT
    backbone.compute_dtype = torch.bfloat16
    rough = queries.get()
    assert len(backbone.seen) == 2 * COUNT and not torch.equal(rough.values, exact.values)
    torch.testing.assert_close(rough.values, exact.values, rtol=0, atol=0.2)


def test_a_selection_takes_its_share_of_the_seconds() -> None:
    part = Queries(torch.arange(10.0)[:, None], 5.0).select(torch.tensor([7, 2]))
    assert part.values.tolist() == [[7], [2]] and part.seconds == 1.0


def test_a_classifier_gives_them_before_it_learned_anything() -> None:
    model = ContinualClassifier(backbone_of(), LinearHead(), device="cpu")
    expected = fixed_queries(backbone_of(), loader_of(pictures(5))).values
    assert torch.equal(model.features(list(pictures(5)), batch_size=2), expected)


# --- A wrong file is never taken --------------------------------------------------------------------------------


def plain() -> Path:
    return path_of(backbone_of(), loader_of())


def path_of(backbone: TimmViT, loader: Loader) -> Path:
    return FeatureStore(Path("x"), backbone.weights_hash(), print).path(backbone, loader)


def in_bfloat16() -> TimmViT:
    backbone = backbone_of()
    backbone.compute_dtype = torch.bfloat16
    return backbone


def loose_norm() -> TimmViT:
    backbone = backbone_of()
    backbone.vit.blocks[1].norm1.eps = 1e-3
    return backbone


def one_pixel_changed() -> torch.Tensor:
    images = pictures(COUNT)
    images[-1, 3, 4, 1] ^= 1
    return images


OTHERS: dict[str, Callable[[], tuple[TimmViT, Loader]]] = {
    "weights": lambda: (backbone_of(tiny_vit(1)), loader_of()),
    "mean": lambda: (backbone_of(mean=(0.4, 0.5, 0.61)), loader_of()),
    "deviation": lambda: (backbone_of(std=(0.3, 0.25, 0.21)), loader_of()),
    "heads": lambda: (backbone_of(tiny_vit(num_heads=4)), loader_of()),
    "pooling": lambda: (backbone_of(tiny_vit(global_pool="avg", fc_norm=False)), loader_of()),
    "activation": lambda: (backbone_of(tiny_vit(act_layer=torch.nn.ReLU)), loader_of()),
    "norm": lambda: (loose_norm(), loader_of()),
    "type of the weights": lambda: (backbone_of().double(), loader_of()),
    "type of the products": lambda: (in_bfloat16(), loader_of()),
    "device": lambda: (backbone_of(), loader_of(device="meta")),
    "image": lambda: (backbone_of(), loader_of(one_pixel_changed())),
    "number of images": lambda: (backbone_of(), loader_of(pictures(COUNT)[:-1])),
    "order of images": lambda: (backbone_of(), loader_of(pictures(COUNT).flip(0))),
    "image size": lambda: (backbone_of(), loader_of(preparation=ImagePreparation(24))),
    "resizing": lambda: (backbone_of(), loader_of(preparation=ImagePreparation(16, resize=16))),
    "training inputs": lambda: (backbone_of(), loader_of(preparation=TrainingInputs(ImagePreparation(16)))),
}


@pytest.mark.parametrize("other", OTHERS)
def test_everything_that_the_features_depend_on_is_in_the_name(other: str) -> None:
    assert path_of(*OTHERS[other]()) != plain()


def test_the_precision_of_products_is_in_the_name() -> None:
    before, first = torch.get_float32_matmul_precision(), plain()
    torch.set_float32_matmul_precision("high" if before != "high" else "highest")
    assert plain() != first
    torch.set_float32_matmul_precision(before)  # type: ignore[arg-type]


def test_the_number_of_threads_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products shared by more threads are rounded differently."""
    alone = plain()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert plain() != alone


def test_labels_batch_sizes_and_what_the_data_are_called_do_not_matter() -> None:
    loader = loader_of(labels=[f"class {i}" for i in range(COUNT)], batch_size=3)
    loader.examples.name = "renamed"
    assert path_of(backbone_of().eval(), loader) == plain() == plain()


def test_what_no_name_tells_shows_in_a_few_features(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, old = kept(tmp_path, notes)
    true_pool = TimmViT.pool
    monkeypatch.setattr(TimmViT, "pool", lambda self, tokens: true_pool(self, tokens) * 1.01)  # as a new version might
    backbone = backbone_of()
    for from_disk in (False, True):
        new = fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone))
        torch.testing.assert_close(new.values, old.values * 1.01)
        assert new.from_disk == from_disk
    assert len(notes) == 1 and str(file) in notes[0] and "computed again" in notes[0]


# --- Nor a damaged one ------------------------------------------------------------------------------------------


def flip(place: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        at = min(int(place * len(data)), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return damage


def other_shape(data: bytes) -> bytes:
    tensors = safetensors.torch.load(data)
    values = tensors["values"][:-1].contiguous()
    shorter = {"values": values, "seconds": tensors["seconds"]}
    return with_checksum(shorter)


def without_seconds(data: bytes) -> bytes:
    values = {"values": safetensors.torch.load(data)["values"]}
    return with_checksum(values)


def with_checksum(tensors: dict[str, torch.Tensor]) -> bytes:
    checksum = torch.tensor(features._checksum(tensors), dtype=torch.uint8)
    return safetensors.torch.save({**tensors, "sha256": checksum})


def without_checksum(data: bytes) -> bytes:
    return safetensors.torch.save({k: v for k, v in safetensors.torch.load(data).items() if k != "sha256"})


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-5],
    "half": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0" * 8,
    "flip in the length": flip(0),
    "flip in the middle": flip(0.5),
    "flip at the end": flip(1),
    "pickle": lambda data: b"\x80\x04\x95" + data,
    "zip": lambda data: b"PK\x03\x04" + data,
    "text": lambda data: b"no tensors at all",
    "zeros": lambda data: b"\0" * len(data),
    "no checksum": without_checksum,
    "other shape": other_shape,
    "no seconds": without_seconds,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_computed_anew_and_replaced(kind: str, tmp_path: Path, notes: Notes) -> None:
    file, first = kept(tmp_path, notes)
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[kind](whole))
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
        kills += code != 0
    assert 2 < kills < 20


def test_many_that_write_at_once_do_each_other_no_harm(tmp_path: Path, notes: Notes) -> None:
    def one(backbone: TimmViT) -> torch.Tensor:
        return fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone)).values

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, [backbone_of() for _ in range(16)]))
    assert all(torch.equal(values, found[0]) for values in found) and not notes
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]


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


def image_files(folder: Path) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{i}.png" for i in range(COUNT)]
    for file, pixels in zip(files, pictures(COUNT), strict=True):
        Image.fromarray(np.asarray(pixels)).save(file)
    return files


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

    def compute(backbone: TimmViT, loader: Loader) -> Queries:
        queries = true_compute(backbone, loader)
        files[3].write_bytes(files[4].read_bytes())
        return queries

    monkeypatch.setattr(features, "_compute", compute)
    fixed_queries(backbone, loader_of(files), notes.store(tmp_path / "kept", backbone))
    assert len(notes) == 1 and "changed" in notes[0] and not (tmp_path / "kept").exists()


# --- The Python API ---------------------------------------------------------------------------------------------

FIXED = TrainConfig(epochs=2, batch_size=16, learning_rate=3.2, augment=False, precision="float32")
KINDS: dict[str, Callable[[Path], Any]] = {
    "tensor": lambda folder: pictures(COUNT),
    "array": lambda folder: pictures(COUNT).numpy(),
    "arrays": lambda folder: list(pictures(COUNT).numpy()),
    "PIL": lambda folder: [Image.fromarray(np.asarray(p)) for p in pictures(COUNT)],
    "paths": lambda folder: image_files(folder),
    "names": lambda folder: list(map(str, image_files(folder))),
}


def learn(inputs: Any, cache: Path | None, spec: Any = None, train: TrainConfig = FIXED) -> ContinualClassifier:
    """A classifier whose backbone counts, after one task."""
    model = ContinualClassifier(backbone_of(), spec or LinearHead(), train, device="cpu", feature_cache=cache)
    model.learn((inputs, ["a", "b"] * (COUNT // 2)), progress=False)
    return model


def seen(model: ContinualClassifier) -> int:
    """On how many examples the backbone was run since this was last asked."""
    seen = model.learner.network.backbone.seen
    count = len(seen)
    seen.clear()
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_learner_reads_what_the_first_one_computed(kind: str, tmp_path: Path) -> None:
    """A linear head on fixed images runs the backbone for their features alone."""
    inputs = KINDS[kind](tmp_path / "images")
    models = [learn(inputs, cache) for cache in (None, tmp_path / "kept", tmp_path / "kept")]
    assert list(map(seen, models)) == [COUNT, COUNT, PROBES] and len(list((tmp_path / "kept").iterdir())) == 1
    expected = models[0].predict_proba(pictures(9, 1))
    assert all(torch.equal(model.predict_proba(pictures(9, 1)), expected) for model in models)


@pytest.mark.parametrize("train", [FIXED, replace(FIXED, augment=True, clean_query=True)], ids=["plain", "clean"])
def test_queries_of_a_matching_learner_too(train: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DualPrompt(g_layers=(1,), e_layers=(3,), adapt=SoftMask((3, 4)))
    first = learn(pictures(COUNT), tmp_path, spec, train)
    monkeypatch.setattr(features, "_compute", None)  # nobody may
    again = learn(pictures(COUNT), tmp_path, spec, train)
    assert_same(snapshot(again.learner), snapshot(first.learner))
    assert torch.equal(again.predict_proba(pictures(9, 1)), first.predict_proba(pictures(9, 1)))


def test_test_sets_and_features_asked_for_are_kept_too_and_a_loaded_learner_finds_them(tmp_path: Path) -> None:
    first = learn(pictures(COUNT), tmp_path / "kept", DualPrompt(g_layers=(1,), e_layers=(3,)))
    tests = [(pictures(COUNT, 2), ["a", "b"] * (COUNT // 2))]
    features_found, scores = first.features(pictures(COUNT, 3)), first.evaluate(tests, ["prompt-id"])
    first.save_pretrained(tmp_path / "saved")
    models = [
        ContinualClassifier.from_pretrained(
            tmp_path / "saved", backbone=backbone_of(), train=FIXED, device="cpu", feature_cache=cache
        )
        for cache in (None, tmp_path / "kept")
    ]
    for model in models:
        seen(model)
        assert torch.equal(model.features(pictures(COUNT, 3)), features_found)
    assert list(map(seen, models)) == [COUNT, PROBES]
    assert [model.evaluate(tests, ["prompt-id"]) for model in models] == [scores, scores]
    assert models[0].store is None and len(list((tmp_path / "kept").iterdir())) == 3


def test_a_damaged_file_is_rebuilt_with_a_warning(tmp_path: Path) -> None:
    first = learn(pictures(COUNT), tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.warns(UserWarning, match=f"{file.name}.*computed again"):
        second = learn(pictures(COUNT), tmp_path)
    third = learn(pictures(COUNT), tmp_path)
    assert (seen(second), seen(third)) == (COUNT, PROBES)
    assert_same(snapshot(second.learner), snapshot(first.learner))
    assert_same(snapshot(third.learner), snapshot(first.learner))


def test_a_run_and_the_python_api_share_a_folder(tmp_path: Path, notes: Notes) -> None:
    file, _ = kept(tmp_path, notes)  # as a run has test inputs
    model = ContinualClassifier(backbone_of(), LinearHead(), device="cpu", feature_cache=str(tmp_path))
    model.features(pictures(COUNT))
    assert seen(model) == PROBES and list(tmp_path.iterdir()) == [file]

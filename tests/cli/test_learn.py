"""`softtf learn`: one more task for a saved learner or a finished run; and `softtf cache`."""

import shutil
from pathlib import Path

import pytest

from cli import contents, image_folder, output, read_json, refused
from softtf import BackboneSpec, BlockRidge, ContinualClassifier
from softtf.saving.zipped import pack
from softtf.streams import load_source

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A learner of two kinds of pictures, and a folder of two others."""
    folder = tmp_path / "learned"
    old, new = image_folder(folder / "old", ("ant", "bee")), image_folder(folder / "May", ("cat", "dog"))
    model = ContinualClassifier(BackboneSpec("random:test_vit", image_size=32), BlockRidge(24), device="cpu")
    model.learn(load_source(str(old))[0], progress=False)
    model.save_pretrained(folder / "learner")
    return folder / "learner", new


@pytest.mark.slow
def test_a_saved_learner_learns_a_folder_as_python_does(places: tuple[Path, Path], capsys: Capture) -> None:
    learner, data = places
    before = contents(learner)
    said = output(capsys, "learn", learner, data, "--output", "more")
    assert "learned May: 10 examples of 2 classes; more: 2 tasks, 4 classes" in said
    assert "% of its 6 test examples were right when it was learned" in said
    shutil.rmtree(data / "test")
    again = output(capsys, "learn", learner, data, "--output", "whole")
    assert "learned May: 10 examples" in again and "%" not in again
    assert contents(learner) == before
    model = ContinualClassifier.from_pretrained(learner, device="cpu")
    model.learn(data, "May", progress=False)
    assert ContinualClassifier.from_pretrained("more", device="cpu").diff(model) == []
    pack(learner, Path("packed.zip"))
    output(capsys, "learn", "packed.zip", data, "--output", "of-one-file", "--name", "May")
    assert ContinualClassifier.from_pretrained("of-one-file", device="cpu").diff(model) == []
    for words in (("learn", "packed.zip", data), ("learner", "remove", "packed.zip", 1)):
        assert "is one file, which is not replaced" in refused(capsys, *words, "--in-place")
    for words in (("learner", "versions"), ("serve",)):
        assert "softtf learner unpack makes a folder" in refused(capsys, *words, "packed.zip")
    shutil.copytree(learner, "mine")
    output(capsys, "learn", "mine", data, "--in-place", "--name", "spring")
    assert ContinualClassifier.from_pretrained("mine", device="cpu").classes.names[1] == "spring"


def test_a_learner_whose_settings_changed_in_place_is_still_one(places: tuple[Path, Path], capsys: Capture) -> None:
    learner, data = places
    output(capsys, "learn", learner, data, "--in-place", "--allow-repeated")
    assert not (learner / "learner.json").exists()  # its new name has its hash
    assert "2 tasks" in output(capsys, "learner", "describe", learner)
    assert "3 tasks" in output(capsys, "learn", learner, data, "--output", "more")


@pytest.mark.slow
def test_a_run_keeps_its_learner_and_its_settings_are_used(
    run: Path, places: tuple[Path, Path], capsys: Capture
) -> None:
    assert "2 tasks" not in output(capsys, "learn", run, places[1], "--output", "more", "--device", "cpu")
    before, after = (ContinualClassifier.from_pretrained(f, device="cpu") for f in (run / "learner", "more"))
    assert after.num_tasks == before.num_tasks + 1 and after.train_config == before.train_config
    assert "give --output FOLDER" in refused(capsys, "learn", run, places[1], "--in-place")
    matrix = read_json(run / "accuracy.json")[before.inference.code]
    found = [(record.accuracy, record.tested) for record in after.classes.records[: before.num_tasks]]
    right = [row[task] for task, row in enumerate(matrix["correct"])]
    assert found == [(pytest.approx(100 * r / n), n) for r, n in zip(right, matrix["total"], strict=True)]


def test_what_cannot_be_learned_is_refused(places: tuple[Path, Path], capsys: Capture) -> None:
    learner, data = places
    assert "say where to save" in refused(capsys, "learn", learner, data)
    assert "neither a learner nor a run" in refused(capsys, "learn", data, data, "--output", "more")
    old = data.parent / "old"
    assert "learned already in an earlier task" in refused(capsys, "learn", learner, old, "--output", "more")
    assert not Path("more").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_learned(
    places: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, data = places
    before = contents(data)
    monkeypatch.setattr(ContinualClassifier, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    for words in (("learn", learner, data), ("learner", "extend", learner, 1, data)):
        assert "exists and is not empty" in refused(capsys, *words, "--output", data)
    Path("run").mkdir()
    learner.rename("run/learner")
    Path("run/config.yaml").touch()
    assert "belongs to the run" in refused(capsys, "learner", "extend", "run", 1, data, "--in-place")
    assert contents(data) == before


def test_the_cache_is_shown_and_cleared(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("SOFTTF_CACHE", "kept")
    assert output(capsys, "cache").startswith("kept: 0 files of features, 0.000 GB of at most 20 GB")
    Path("kept").mkdir()
    Path("kept", "0" * 64 + ".safetensors").write_bytes(bytes(5_000_000))
    assert "1 files of features, 0.005 GB" in output(capsys, "cache", "show")
    assert output(capsys, "cache", "clear") == "kept: removed 1 files of features, 0.005 GB\n"
    assert list(Path("kept").iterdir()) == []
    assert "did you mean" in refused(capsys, "cache", "cleer")

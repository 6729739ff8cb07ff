"""A run reads again the data that it learned, from anywhere, and no others."""

import json
import shutil
from pathlib import Path

import pytest
import timm
from timm.models import save_for_hf

from cli import BACKBONE, call, contents, image_folder, output, refused, results
from softtf.runs import learn as learning
from softtf.runs.run import Run

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
NCM = ("run", "own-images", "--method", "ncm", *BACKBONE, "--device", "cpu")
"""Two tasks of two classes, learned in closed form."""


def others(folder: Path) -> None:
    """Make the data of a folder others of the same names, sizes and labels where they can be."""
    for path in sorted(folder.rglob("*.png")):
        path.write_bytes(path.read_bytes()[:-4] + b"1234")


def test_a_run_with_a_relative_source_is_scored_and_resumed_from_elsewhere(capsys: Capture, tmp_path: Path) -> None:
    for name in ("run[1]", "run1"):
        image_folder(Path(name))
    others(Path("run1"))
    text = output(capsys, *NCM, "--stream.source", "run[1]", "--output", "out [1]")
    assert "the 4 classes are dealt to 2 tasks (--stream.num-tasks)" in " ".join(text.split())
    assert f"source: {tmp_path}/run[1]" in (tmp_path / "out [1]" / "config.yaml").read_text()
    (tmp_path / "else").mkdir()
    image_folder(tmp_path / "else" / "run[1]", classes=["x", "y", "z", "zz"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "else")
        assert "task given" in output(capsys, "evaluate", tmp_path / "out [1]")
        assert call("resume", "../out [1]") == 0


def test_folders_of_runs_and_of_features_may_have_any_name(capsys: Capture) -> None:
    image_folder(Path("data"))
    odd = " a[1]*?{x,y}::50%ü~ "
    for name in ("a1", odd):
        place = (f"runs {name}", "--feature-cache", f"features {name}")
        assert call(*NCM, "--stream.source", "data", "--seed", len(name), "--output", *place) == 0
    assert results(Path(f"runs {odd}")) != results(Path("runs a1"))
    assert any(Path(f"features {odd}").rglob("*.*"))
    assert "task given" in output(capsys, "evaluate", f"runs {odd}")
    assert "ant/0.png\t" in output(capsys, "predict", f"runs {odd}", "data/test/ant/0.png")
    Path(f"runs {odd}/summary.json").unlink()
    assert call("resume", f"runs {odd}") == 0


@pytest.mark.parametrize(
    ("part", "words"), [("train", "the training data of task 1 have"), ("test", "the test data of task 1 have")]
)
def test_other_data_in_the_place_of_those_learned_are_refused(part: str, words: str, capsys: Capture) -> None:
    image_folder(Path("data"))
    assert call(*NCM, "--stream.source", "data", "--output", "new") == 0
    others(Path("data") / part)
    before = contents(Path("new"))
    for command in ("evaluate", "resume"):
        message = refused(capsys, command, "new")
        assert (
            f"{words} other contents" in message
            and "--source" in message
            and "/data: the data have changed since new" in message
        )
        assert contents(Path("new")) == before
    (Path("data") / part / "ant" / "0.png").unlink()
    assert "examples, not" in refused(capsys, "evaluate", "new")


def test_data_that_were_moved_are_asked_for_and_accepted_if_they_are_the_same(capsys: Capture) -> None:
    image_folder(Path("data"))
    image_folder(Path("wrong"))
    others(Path("wrong"))
    assert call(*NCM, "--stream.source", "data", "--output", "new") == 0
    Path("data").rename("moved")
    before = contents(Path("new"))
    for command in ("evaluate", "resume"):
        assert "no longer at" in refused(capsys, command, "new")
        assert "other contents" in refused(capsys, command, "new", "--source", "wrong")
    assert "task given" in output(capsys, "evaluate", "new", "--source", "moved")
    shutil.rmtree("new/rescored")  # what evaluate found
    assert contents(Path("new")) == before
    assert call("resume", "new", "--source", "moved") == 0
    assert f"source: {Path('moved').resolve()}" in Path("new/config.yaml").read_text()
    assert call("evaluate", "new") == 0
    assert "quickstart" in refused(capsys, "resume", _quickstart(), "--source", "moved")


def _quickstart() -> Path:
    Path("quick").mkdir()
    Path("quick/quickstart.json").write_text('{"seed": 0, "recipe": "quickstart"}')
    return Path("quick")


def test_a_run_of_an_earlier_version_goes_on_unchecked_and_a_damaged_record_is_named(capsys: Capture) -> None:
    image_folder(Path("data"))
    assert call(*NCM, "--stream.source", "data", "--output", "new") == 0
    record = json.loads(Path("new/data.json").read_text())
    assert [task["train"]["examples"] for task in record["tasks"]] == [10, 10]
    for damaged in ("{", "[" * 9999, "[]", json.dumps({"tasks": [1]}), json.dumps({"tasks": [{"train": {}}]}), "\0"):
        Path("new/data.json").write_text(damaged)
        message = refused(capsys, "evaluate", "new")
        assert "data.json cannot be read" in message and "; remove it" in message
    Path("new/data.json").unlink()
    others(Path("data"))
    assert call("evaluate", "new") == 0
    assert not Path("new/data.json").exists()
    assert call("resume", "new") == 0
    assert json.loads(Path("new/data.json").read_text()) != record


def test_data_of_tasks_that_were_not_learned_may_change_and_it_is_noted(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder(Path("data"))
    true_task = learning.learn_task

    def stop_at_the_second(run: Run, index: int, tracker: object) -> None:
        if index == 1:
            raise KeyboardInterrupt
        true_task(run, index, tracker)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(learning, "learn_task", stop_at_the_second)
        assert call(*NCM, "--stream.source", "data", "--output", "new") == 130
    others(Path("data/train/cat"))
    assert "the training data of task 2 have other contents than when the run began" in output(capsys, "resume", "new")
    assert call("evaluate", "new") == 0
    others(Path("data/train/dog"))
    (Path("data/train/dog") / "0.png").write_bytes(b"")
    assert "task 2 have other file names or sizes" in refused(capsys, "evaluate", "new")


def test_splits_litter_and_what_is_held_out_are_said_by_a_run(capsys: Capture) -> None:
    image_folder(Path("data"))
    Path("data/test").rename("data/Validation")
    Path("data/Thumbs.db").touch()
    said = output(capsys, *NCM, "--stream.source", "data", "--output", "new")
    assert "note: data: learns from train/ (20), tests on Validation/ (12)\nnote: data: skipped 1 Thumbs.db\n" in said
    said = output(capsys, *NCM, "--stream.source", "data/train", "--output", "part")
    assert "note: train: 4 of 20 examples are held out for testing, a fifth of every class\n" in said
    assert results(Path("new")) != results(Path("part"))


def test_a_file_of_paths_of_images_is_learned_in_its_order_and_scored_from_elsewhere(capsys: Capture) -> None:
    image_folder(Path("data"))
    months = ("30 sep", "2 feb")
    rows = [f"train/{name}/{i}.png,{name},{month}" for month in months for name in ("ant", "bee") for i in range(3)]
    Path("data/photos.csv").write_text("\n".join(["image,label,month", *rows]))
    ncm = (*NCM, "--stream.task-column", "month", "--stream.merge-labels")
    said = output(capsys, *ncm, "--stream.source", "data/photos.csv", "--output", "new")
    assert "photos.csv: 4 of 12 examples are held out for testing, a fifth of every class in every task" in said
    assert [json.loads(Path(f"new/learner/task-00{n}.json").read_text())["name"] for n in (1, 2)] == list(months)
    Path("data").rename("moved")
    Path("else").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("else")
        assert "no longer at" in refused(capsys, "evaluate", "../new")
        assert "task given" in output(capsys, "evaluate", "../new", "--source", "../moved/photos.csv")


def test_a_runs_backbone_is_found_from_another_directory(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_for_hf(timm.create_model("test_vit", img_size=32), tmp_path / "mine", safe_serialization=True)
    image_folder(tmp_path / "animals")
    here = ("--stream.source", "animals", "--backbone.name", "mine", "--output", "out")
    assert call("run", "own-images", "--method", "ncm", "--device", "cpu", *here) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert f"--backbone {tmp_path / 'mine'}" in refused(capsys, "evaluate", tmp_path / "out")
    assert call("evaluate", tmp_path / "out", "--backbone", tmp_path / "mine") == 0
    assert call("resume", tmp_path / "out", "--backbone", "../mine") == 0

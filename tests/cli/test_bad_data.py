"""Images, streams and losses that cannot be learned from: one clear line, and what was learned stays."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image

from cli import CLASSES, TINY, TINY_IMAGES, call, image_folder, output, refused, results
from softtf.learners.base import Batch
from softtf.learners.dual_prompt import DualPromptLearner
from support.slow import each

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]


def broken(kind: str, image: Path) -> bytes:
    whole = image.read_bytes()
    return {"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"I am no picture\n"}[kind]


PROBLEMS = {"empty": "empty (0 bytes)", "truncated": "or truncated", "text": "not a readable image"}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_predict_names_the_image_that_cannot_be_read(kind: str, run: Path, images: Path, capsys: Capture) -> None:
    good = images / "test" / "ant" / "0.png"
    Path("bad.png").write_bytes(broken(kind, good))
    for args in (("bad.png",), (good, "bad.png", "--strict")):
        message = refused(capsys, "predict", run, *args)
        assert "bad.png" in message and PROBLEMS[kind] in message
        assert " object at 0x" not in message


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("pool", [(), ("--pool",)])
def test_predict_answers_the_rest_and_says_so(
    kind: str, pool: tuple[str, ...], run: Path, images: Path, capsys: Capture
) -> None:
    first, last = (images / "test" / name / "0.png" for name in ("ant", "dog"))
    Path("mixed/ant").mkdir(parents=True)
    shutil.copy(first, "mixed/ant/0.png")
    Path("mixed/bad.png").write_bytes(broken(kind, first))
    shutil.copy(last, "mixed/z.JPG")
    Path("mixed/dir.png").mkdir()  # a folder, whatever its name
    Path("mixed/notes.txt").write_text("no image")
    expected = output(capsys, "predict", run, "mixed/ant", "mixed/z.JPG", *pool).splitlines()
    assert call("predict", run, "mixed", *pool) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == expected and len(expected) == 2
    passed, line = err.splitlines()
    assert passed == "softtf: mixed: skipped 1 *.txt"
    assert line.startswith("softtf: not answered: ") and "mixed/bad.png" in line and PROBLEMS[kind] in line
    assert call("predict", run, "mixed", "--json", *pool) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == ["mixed/ant/0.png", "mixed/bad.png", "mixed/z.JPG"]
    assert err.splitlines() == [passed]
    assert rows[1].keys() == {"file", "error"} and PROBLEMS[kind] in rows[1]["error"]
    assert all(row.keys() == {"file", "label", "confidence", "task"} for row in (rows[0], rows[2]))
    for name in ("ant/0.png", "z.JPG", "notes.txt"):
        Path("mixed", name).unlink()
    assert "bad.png" in refused(capsys, "predict", run, "mixed", "--json", *pool)


def test_predict_needs_files_that_exist(run: Path, images: Path, capsys: Capture) -> None:
    assert "no file or folder missing.png" in refused(
        capsys, "predict", run, images / "test", "missing.png", "--strict"
    )
    Path("folder").mkdir()
    assert "no image in folder folder" in refused(capsys, "predict", run, "folder")


def test_an_argument_that_cannot_be_read_is_told_and_the_rest_answered(
    run: Path, images: Path, capsys: Capture
) -> None:
    first, last = (images / "test" / name / "0.png" for name in ("ant", "dog"))
    Path("folder").mkdir()
    Path("link.png").symlink_to("nowhere.png")
    Path("list.csv").write_bytes(b"image\n\xe9.png\n")
    Path("bad.png").write_bytes(b"no image")
    problems = {
        "missing.png": "there is no file",
        "folder": "no image in folder",
        "link.png": "is a link to nowhere.png",
        "list.csv": "is not UTF-8",
        "bad.png": "not a readable image",
    }
    expected = output(capsys, "predict", run, first, last).splitlines()
    assert call("predict", run, first, *problems, last) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == expected
    for line, (name, words) in zip(err.splitlines(), problems.items(), strict=True):
        assert line.startswith("softtf: not answered: ") and name in line and words in line
    assert call("predict", run, first, *problems, last, "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [str(first), *problems, str(last)]
    assert [words in row.get("error", "") for row, words in zip(rows[1:-1], problems.values(), strict=True)] == [
        True
    ] * 5
    assert "missing.png" in refused(capsys, "predict", run, "missing.png", "folder")
    assert "missing.png" in refused(capsys, "predict", run, first, *problems, "--strict")


@pytest.mark.parametrize("column", ["image", "content"])
def test_an_empty_row_of_a_file_is_told_and_the_rest_answered(
    column: str, run: Path, images: Path, capsys: Capture
) -> None:
    first, last = (str(images / "test" / name / "0.png") for name in ("ant", "dog"))
    expected = output(capsys, "predict", run, first, last).splitlines()
    for nothing in ({column: None}, {column: ""}, {}):
        rows = [nothing, {column: first}, nothing, {column: last}]
        Path("list.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert call("predict", run, "list.jsonl") == 1
        out, err = capsys.readouterr()
        assert out.splitlines() == expected
        assert [line.split(": ")[:3] for line in err.splitlines()] == [
            ["softtf", "not answered", f"list.jsonl, row {i}"] for i in (0, 2)
        ]


@each("kind", list(PROBLEMS), ("truncated",))
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_broken_image_stops_a_run_and_a_mended_one_lets_it_go_on(
    kind: str, split: str, images: Path, capsys: Capture
) -> None:
    shutil.copytree(images, "data")
    assert call(*TINY_IMAGES, "--stream.source", "data", "--output", "whole") == 0
    image = Path("data") / split / "dog" / "1.png"  # of the second task
    whole = image.read_bytes()
    image.write_bytes(broken(kind, image))
    message = refused(capsys, *TINY_IMAGES, "--stream.source", "data", "--output", "new")
    assert str(image) in message and PROBLEMS[kind] in message
    assert call("predict", "new", images / "test") == 0, "the first task must stay usable"
    image.write_bytes(whole)
    assert call("resume", "new") == 0
    assert results(Path("new")) == results(Path("whole"))


def _remove(*folders: str) -> Callable[[Path], object]:
    return lambda data: [shutil.rmtree(data / folder) for folder in folders]


@pytest.mark.parametrize(
    ("change", "tasks", "parts"),
    [
        (lambda data: None, 5, ["4 classes", "5 tasks"]),
        (lambda data: (data / "train" / "eel").mkdir(), 2, ["train/eel", "no images"]),
        (lambda data: (data / "test" / "eel").mkdir(), 2, ["test/eel", "no images"]),
        (_remove("test/cat", "test/dog"), 2, ["no examples", "task 2"]),
        (_remove("train/dog"), 2, ["'dog'", "not in train"]),
        (_remove("train", "test"), 2, ["no class folders"]),
    ],
    ids=["few-classes", "empty-class", "empty-test-class", "task-untested", "unknown-test-class", "nothing"],
)
def test_streams_that_do_not_fill_their_tasks(
    change: Callable[[Path], object], tasks: int, parts: list[str], images: Path, capsys: Capture
) -> None:
    shutil.copytree(images, "data")
    change(Path("data"))
    args = ("--stream.source", "data", "--stream.num-tasks", tasks, "--output", "new")
    message = refused(capsys, *TINY_IMAGES, *args)
    assert [part for part in parts if part not in message] == []
    assert not Path("new").exists()


def test_data_without_any_test_image(capsys: Capture) -> None:
    shutil.copytree(image_folder(Path("all"), train=1) / "train", "data")
    message = refused(capsys, *TINY_IMAGES, "--stream.source", "data", "--output", "new")
    assert "no test data" in message
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("labels", "names", "parts"),
    [
        (["a", "b", "c", "d"], "w x y z", ["'a'", "row 0", "must be an integer"]),
        ([0.0, 0.5, 1.0, 2.0], "w x y z", ["0.0", "row 0", "must be an integer"]),
        ([0, 1, 2, 4], "w x y z", ["4", "row 3", "0..3"]),
        ([0, 1, 2, 3], "w x y y", ["'y'", "two labels"]),
        ([0, 1, 2, None], "", ["example 3", "missing"]),
    ],
)
def test_labels_that_are_not_the_integers_they_must_be(
    labels: list[Any], names: str, parts: list[str], images: Path, capsys: Capture
) -> None:
    Path("data").mkdir()
    pictures = [Image.open(images / "test" / name / "0.png") for name in CLASSES]
    for split in ("train", "test"):
        datasets.Dataset.from_dict({"image": pictures, "label": labels}).to_parquet(f"data/{split}.parquet")
    Path("data/labels.txt").write_text(names.replace(" ", "\n"))
    if not names:
        Path("data/labels.txt").unlink()
    datasets.disable_progress_bars()  # they share stderr
    message = refused(capsys, *TINY_IMAGES, "--stream.source", "data", "--output", "new")
    datasets.enable_progress_bars()
    assert [part for part in parts if part not in message] == []
    assert not Path("new").exists()


# --- losses that are not finite ---


def test_a_rate_far_too_high_names_task_and_step(run: Path, capsys: Capture) -> None:
    message = refused(capsys, *TINY, "--train.learning-rate", "1e30", "--output", "new")
    assert "loss became" in message and "task 1" in message and "step 2" in message
    assert "learning rate" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_earlier_tasks_stay_usable_after_a_loss_that_is_not_finite(
    value: float, run: Path, images: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_loss = DualPromptLearner.loss

    def loss(self: DualPromptLearner, batch: Batch) -> dict[str, torch.Tensor]:
        terms = true_loss(self, batch)
        return (
            terms
            if self.num_tasks == 1 or len(batch.targets) == 24
            else terms | {"matching": terms["matching"] * value}
        )

    with monkeypatch.context() as patch:
        patch.setattr(DualPromptLearner, "loss", loss)  # fails in the second task's second and smaller batch
        message = refused(capsys, *TINY, "--output", "new")
    assert f"matching loss became {value}" in message and "task 2" in message and "step 2" in message
    assert call("predict", "new", images / "test") == 0
    capsys.readouterr()
    assert call("evaluate", "new") == 0
    assert call("resume", "new") == 0
    assert results(Path("new")) == results(run)


def test_weights_that_break_in_the_last_step_are_never_saved(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later loss of the task would show what its last step did."""

    def after_backward(self: DualPromptLearner) -> None:
        for parameter in self.parameters():
            if self.num_tasks == 2 and parameter.grad is not None:
                parameter.grad.fill_(float("nan"))

    one_step = ("--train.batch-size", "100")
    with monkeypatch.context() as patch:
        patch.setattr(DualPromptLearner, "after_backward", after_backward)
        message = refused(capsys, *TINY, *one_step, "--output", "new")
    assert "task 2" in message and "step 1" in message and "finite" in message
    assert not list(Path("new/learner").glob("task-002.*"))
    assert call("resume", "new") == 0
    assert call(*TINY, *one_step, "--output", "whole") == 0
    assert results(Path("new")) == results(Path("whole"))

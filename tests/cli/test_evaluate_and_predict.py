"""The commands that work on what a run left."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from cli import CLASSES, POLICIES, TINY_IMAGES, call, contents, output, read_json, unfinish
from softtf import classifier
from softtf.adaptations.slots import MappedSlot
from softtf.cli import evaluate
from softtf.errors import UserError
from softtf.evaluation import AccuracyMatrix
from softtf.learners import Learner
from softtf.runs import evaluate as rescore_module
from softtf.runs import run as run_module
from softtf.runs.folder import RunFolder
from softtf.runs.predictions import file_name

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(run: Path) -> Iterator[Path]:
    """The finished run; what is added to it goes again."""
    before = {*run.glob("predictions/*")}
    yield run
    for file in {*run.glob("predictions/*")} - before:
        file.unlink()
    if (run / "rescored").is_file():
        (run / "rescored").unlink()
    shutil.rmtree(run / "rescored", ignore_errors=True)


def contents_below(folder: str) -> dict[str, bytes]:
    return {f"{Path(folder).name}/{name}": data for name, data in contents(Path(folder)).items()}


def percentages(table: str) -> list[list[float]]:
    """The numbers of each row that starts with a policy."""
    rows = [line for line in table.splitlines() if re.match(r"\s+(Prompt ID|Gradient ID|Feature ID|oracle)", line)]
    return [numbers for row in rows if (numbers := [float(x) for x in re.findall(r"\d+\.\d+", row)])]


def test_evaluate_finds_what_the_run_found(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before = contents(run)
    out = output(capsys, "evaluate", run, "--policy", *POLICIES, "--matrix")
    after = contents(run)
    files = {code: f"rescored/{file_name(code)}.json" for code in POLICIES}
    added = set(files.values())
    assert after.keys() == before.keys() | added and {n: after[n] for n in before} == before
    for name in added:
        assert Path(name).name in out and str(run / "rescored") in out
    found = {code: read_json(run / file) for code, file in files.items()}
    titles = {code: policy["title"] for code, policy in read_json(run / "summary.json")["policies"].items()}
    assert {code: content["title"] for code, content in found.items()} == titles
    assert {code: content["accuracy"] for code, content in found.items()} == read_json(run / "accuracy.json")
    summary = read_json(run / "summary.json")["policies"]
    assert [row[:2] for row in percentages(out)] == [
        pytest.approx([summary[code]["acc"], summary[code]["forget"]], abs=0.006) for code in POLICIES
    ]
    assert " ".join(out.split()).count("after learning task (column)") == len(POLICIES)


def test_policies_and_ways_of_scoring_stand_beside_each_other(run: Path, capsys: Capture) -> None:
    calls = {
        "prompt-id": ("--policy", "prompt-id"),
        "gradient-id-3-shot-of-5-own": ("--policy", "gradient-id:3-shot/5:own"),
        "prompt-id-shuffled": ("--policy", "prompt-id", "--shuffle"),
        "prompt-id-bfloat16-last": ("--policy", "prompt-id", "--precision", "bfloat16", "--last"),
    }
    for args in calls.values():
        output(capsys, "evaluate", run, *args)
    assert {p.stem for p in (run / "rescored").iterdir()} == calls.keys()
    contents = {name: read_json(run / "rescored" / f"{name}.json") for name in calls}
    for name, found in contents.items():
        assert found["tasks"] == 2 and found["environment"]["packages"]["torch"]
        assert (found["accuracy"] is None) == ("last" in name) and found["test_seconds_from_nothing"] > 0
        assert sum(found["counts"]["total"]) == 30
        assert found["acc"] == pytest.approx(100 * sum(found["counts"]["correct"]) / 30)
    assert contents["prompt-id-bfloat16-last"]["title"] == "Prompt ID, per-sample, bfloat16"
    accuracy = contents["gradient-id-3-shot-of-5-own"]["accuracy"]
    assert AccuracyMatrix.from_dict(accuracy).acc == contents["gradient-id-3-shot-of-5-own"]["acc"]
    (run / "rescored" / ".x.json.tmp").write_text("torn")  # a crash while writing is no result
    assert len(RunFolder(run).rescored()) == 4
    (run / "rescored" / "prompt-id.json").write_text("{")
    with pytest.raises(UserError, match=r"prompt-id\.json cannot be read"):
        RunFolder(run).rescored()


def test_what_cannot_be_saved_is_shown_and_said(run: Path, capsys: Capture) -> None:
    (run / "rescored").write_text("no folder")
    assert call("evaluate", run, "--policy", "oracle") == 2
    out, err = capsys.readouterr()
    assert percentages(out) and "could not write" in err and "oracle.json" in err


def test_evaluate_without_policies_takes_the_usual_ones(run: Path, capsys: Capture) -> None:
    assert len(percentages(output(capsys, "evaluate", run))) == len(POLICIES)


def test_evaluate_shuffled_leaves_single_samples_alone(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ordered = percentages(output(capsys, "evaluate", run, "--policy", *POLICIES))
    shuffled = percentages(output(capsys, "evaluate", run, "--policy", *POLICIES, "--shuffle"))
    assert [row[:3] for row in ordered] == [row[:3] for row in shuffled]  # ACC, Forget, task right
    assert len(ordered) == len(POLICIES) and all(len(row) >= 3 for row in ordered)
    assert "shuffled batch(5)" in output(capsys, "evaluate", run, "--policy", "prompt-id:batch5", "--shuffle")


def test_evaluate_after_the_last_task_only(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    whole = percentages(output(capsys, "evaluate", run))
    out = output(capsys, "evaluate", run, "--last", "--matrix")
    assert [row[0] for row in percentages(out)] == [row[0] for row in whole]
    assert "after learning task" not in " ".join(out.split())


def test_evaluate_of_an_unfinished_run(run: Path, capsys: Capture) -> None:
    shutil.copytree(run, "copy")
    for file in Path("copy").glob("*/*-002.*"):
        file.unlink()
    unfinish(Path("copy"))
    before = contents(Path("copy"))
    matrix = output(capsys, "evaluate", "copy", "--policy", "oracle", "--matrix")
    found = json.loads(contents(Path("copy")).pop("rescored/oracle.json"))
    added = {**contents_below("copy/rescored"), **contents_below("copy/predictions")}
    assert found["tasks"] == 1 and contents(Path("copy")) == {**before, **added}
    first = read_json(run / "accuracy.json")["oracle"]["correct"][0][0] / 15 * 100
    assert f"{first:.1f}" in matrix


@pytest.fixture(scope="module")
def animals(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "animals"
    thorough = ("--train.epochs", 10, "--train.learning-rate", 0.3, "--train.no-augment")
    assert call(*TINY_IMAGES, *thorough, "--stream.source", images, "--output", path) == 0
    return path


def test_own_images_are_learned_with_their_names(animals: Path, images: Path, capsys: Capture) -> None:
    accuracy = read_json(animals / "accuracy.json")["oracle"]
    assert accuracy["total"] == [6, 6]
    assert sum(accuracy["correct"][-1]) >= 9, "tinted classes of one task should be told apart"
    lines = output(capsys, "predict", animals, images / "test", "--task", 1).splitlines()
    assert len(lines) == 12
    for line in lines:
        file, label, confidence, task = line.split("\t")
        assert Path(file).is_file() and label in CLASSES[:2] and task == "task 1"
        assert 0.49 < float(confidence) <= 1
    own = [line.split("\t")[1] == Path(line.split("\t")[0]).parent.name for line in lines[:6]]
    assert sum(own) == accuracy["correct"][-1][0], "predict and the run must agree"


def test_predict_takes_files_and_folders_in_their_order(animals: Path, images: Path, capsys: Capture) -> None:
    file = images / "test" / "dog" / "1.png"
    lines = output(capsys, "predict", animals, file, images / "test" / "ant", file).splitlines()
    names = [str(file), *(str(images / "test" / "ant" / f"{i}.png") for i in range(3)), str(file)]
    assert [line.split("\t")[0] for line in lines] == names
    assert lines[0] == lines[-1]


def test_predict_takes_lists_of_images_and_parquet(animals: Path, images: Path, capsys: Capture) -> None:
    """Paths go on from the list's folder, wherever the command is called."""
    files = sorted((images / "test").rglob("*.png"))
    expected = output(capsys, "predict", animals, *files).splitlines()
    (images / "list.csv").write_text("\n".join(["image", *(str(f.relative_to(images)) for f in files)]) + "\n")
    assert output(capsys, "predict", animals, images / "list.csv").splitlines() == expected
    rows = datasets.Dataset.from_dict({"shot": [str(f) for f in files]}).cast_column("shot", datasets.Image())
    rows.to_parquet("rows.parquet")
    found = output(capsys, "predict", animals, "rows.parquet", "--input-column", "shot").splitlines()
    assert [line.split("\t")[1:] for line in found] == [line.split("\t")[1:] for line in expected]
    assert found[3].startswith("rows.parquet, row 3\t")
    Path("data").mkdir()
    rows.select(range(6)).to_parquet("data/train.parquet")
    rows.select(range(6, 12)).to_parquet("data/test.parquet")
    found = output(capsys, "predict", animals, "data", "--input-column", "shot").splitlines()
    assert [line.split("\t")[1:] for line in found] == [line.split("\t")[1:] for line in expected[6:] + expected[:6]]
    (images / "list.csv").unlink()


def test_predict_json_says_the_same_as_text(animals: Path, images: Path, capsys: Capture) -> None:
    text = output(capsys, "predict", animals, images / "test").splitlines()
    rows = [json.loads(line) for line in output(capsys, "predict", animals, images / "test", "--json").splitlines()]
    assert text == [f"{r['file']}\t{r['label']}\t{r['confidence']:.3f}\ttask {r['task']}" for r in rows]
    assert all(r.keys() == {"file", "label", "confidence", "task"} for r in rows)
    assert {r["task"] for r in rows} <= {1, 2}


@pytest.mark.parametrize("inference", ["prompt-id", "gradient-id"])
def test_predictions_do_not_depend_on_the_batch(inference: str, animals: Path, images: Path, capsys: Capture) -> None:
    args = ("predict", animals, images / "test", "--json", "--policy", inference)
    whole, single = (
        [json.loads(line) for line in output(capsys, *args, "--batch-size", size).splitlines()] for size in (64, 1)
    )
    assert [(r["file"], r["label"], r["task"]) for r in whole] == [(r["file"], r["label"], r["task"]) for r in single]
    assert [r["confidence"] for r in whole] == pytest.approx([r["confidence"] for r in single], abs=1e-5)
    alone = json.loads(output(capsys, "predict", animals, whole[5]["file"], *args[3:]))
    assert (alone["label"], alone["task"]) == (whole[5]["label"], whole[5]["task"])


def test_pooled_predictions_name_one_task(animals: Path, images: Path, capsys: Capture) -> None:
    lines = output(capsys, "predict", animals, images / "test", "--pool", "--json").splitlines()
    assert len({json.loads(line)["task"] for line in lines}) == 1


def test_predict_takes_a_learner_alone(animals: Path, images: Path, capsys: Capture) -> None:
    shutil.copytree(animals / "learner", "published")
    test = images / "test"
    assert output(capsys, "predict", "published", test) == output(capsys, "predict", animals, test)


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the masks of every learner that is loaded from now on are to be."""
    places: list[str] = []

    def note(learner: Learner) -> None:
        mapped = [isinstance(s, MappedSlot) for part in learner.slot_modules().values() for s in part.slots]
        places.append("disk" if any(mapped) else "memory")

    for module in (classifier, run_module):

        def load(*args: Any, true_load: Any = module.load_learner, **options: Any) -> Any:
            loaded = true_load(*args, **options)
            note(loaded[1])
            return loaded

        monkeypatch.setattr(module, "load_learner", load)
    after_each = rescore_module.as_after_each_task

    def each(*args: Any) -> Iterator[Learner]:
        for learner in after_each(*args):
            note(learner)
            yield learner

    monkeypatch.setattr(rescore_module, "as_after_each_task", each)
    return places


def test_masks_left_on_disk_give_the_same_predictions(
    animals: Path, images: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = asked_for(monkeypatch)
    args = ("predict", animals, images / "test", "--policy", "gradient-id", "--json")
    in_memory = output(capsys, *args)
    for limit in ("0", "30KB"):
        assert output(capsys, *args, "--memory-limit", limit) == in_memory  # all digits of every confidence
    assert places == ["memory", "disk", "disk"]


def test_masks_left_on_disk_give_the_same_scores(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    true_rescore = evaluate.rescore

    def rescore(*args: Any) -> Any:
        found.append(true_rescore(*args))
        return found[-1]

    places = asked_for(monkeypatch)
    monkeypatch.setattr(evaluate, "rescore", rescore)
    for options in ((), ("--memory-limit", "0")):
        output(capsys, "evaluate", run, *options)
    assert places == ["memory"] * 3 + ["disk"] * 3  # once to open, and as it was after each of two tasks
    in_memory, on_disk = ({r.policy: (r.matrix, r.score.correct, r.score.task_correct) for r in f} for f in found)
    assert in_memory == on_disk and len(in_memory) == len(POLICIES)


def test_labels_of_digits_are_integers(run: Path, images: Path, capsys: Capture) -> None:
    row = json.loads(output(capsys, "predict", run, images / "test" / "ant" / "0.png", "--json"))
    assert row["label"] in range(10)


def test_a_folder_without_splits_holds_out_a_fifth(images: Path) -> None:
    shutil.copytree(images / "train", "flat")
    assert call(*TINY_IMAGES, "--stream.source", "flat", "--output", "new") == 0
    assert read_json(Path("new/accuracy.json"))["oracle"]["total"] == [2, 2]

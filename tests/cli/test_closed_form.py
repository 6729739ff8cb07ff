"""Methods without epochs, and statistics beside one with epochs, through the command line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cli import BACKBONE, DIGITS, TINY, call, output, read_json, refused, results
from softtf.inference.policy import BEST
from softtf.paper import table_named
from softtf.paper.runs import Wish, resolve
from support.stopping import lose_the_last_task

pytestmark = pytest.mark.slow  # whole runs

SOLVED = ("run", "quickstart", *BACKBONE, "--stream.num-tasks", "2", "--device", "cpu", *DIGITS)
METHODS = {
    "ncm": ("--method", "ncm"),
    "ranpac": ("--method", "ranpac", "--learner.projection", "40"),
    "fly-cl": ("--method", "fly-cl", "--learner.projection", "40"),
    "klda": ("--method", "klda", "--learner.projection", "30", "--learner.maps", "2"),
    "layup": ("--method", "layup", "--learner.blocks", "2"),
    "block-ridge": ("--method", "block-ridge", "--learner.projection", "40", "--learner.views", "2"),
}
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_one_epoch_a_task_and_resumes_to_the_same_bytes(method: str, capsys: Capture) -> None:
    out = output(capsys, *SOLVED, *METHODS[method], "--output", "run")
    assert "does not read" not in out and "epoch 1/1" in out
    events = [json.loads(line) for line in Path("run/events.jsonl").read_text().splitlines()]
    assert [(e["event"], e["task"]) for e in events if e["event"] == "epoch"] == [("epoch", 0), ("epoch", 1)]
    assert {"none", "oracle"} == read_json(Path("run/summary.json"))["policies"].keys()
    whole = results(Path("run"))
    shutil.copytree("run", "cut")
    lose_the_last_task(Path("cut"))
    assert "resumed from task 1 of 2" in output(capsys, "resume", "cut")
    assert results(Path("cut")) == whole


def test_settings_of_training_that_are_not_read_are_refused(capsys: Capture) -> None:
    args = (*SOLVED, *METHODS["ncm"], "--output", "run")
    line = refused(capsys, *args, "--train.epochs", "3", "--train.schedule", "cosine")
    assert "ncm does not read train.epochs, train.schedule" in line and "It reads train.precision" in line
    assert not Path("run").exists()
    assert call(*args, "--train.precision", "bfloat16") == 0


def test_a_table_sets_what_each_row_reads() -> None:
    wish = Wish(settings={"train.epochs": 3, "train.precision": "bfloat16"})
    rows = {row.trained.method: row for row in table_named("methods").rows}
    for method in ("ncm", "ft"):
        found, plain = (resolve(rows[method], "cifar100-10", w).train for w in (wish, Wish()))
        epochs = plain.epochs if method == "ncm" else 3
        assert found == replace(plain, epochs=epochs, precision="bfloat16")


def test_feature_id_beside_soft_masks(capsys: Capture) -> None:
    args = (*TINY, "--learner.feature-id", "30", "--evaluate.policies", "feature-id", "feature-id:batch3:own", "oracle")
    output(capsys, *args, "--output", "run")
    summary = read_json(Path("run/summary.json"))["policies"]
    assert summary.keys() == {"feature-id", "feature-id:batch3:own", "oracle"}
    assert summary["feature-id"]["title"] == "Feature ID, per-sample"
    shutil.copytree("run", "cut")
    lose_the_last_task(Path("cut"))
    output(capsys, "resume", "cut")
    assert results(Path("cut")) == results(Path("run"))
    assert call("evaluate", "run", "--policy", "feature-id:own") == 0
    Image.new("RGB", (20, 20), (90, 30, 10)).save("picture.png")
    assert call("predict", "run", "picture.png", "--policy", "feature-id:own") == 0


def test_gradient_offsets_beside_soft_masks(capsys: Capture) -> None:
    """Scored if nothing else is asked for; the same after a crash; without them it is said what is missing."""
    output(capsys, *TINY, "--learner.gradient-offset", "8", "--output", "run")
    policies = read_json(Path("run/summary.json"))["policies"]
    assert policies.keys() == {"prompt-id", "gradient-id", BEST, "gradient-id-offset", "oracle"}
    assert policies["gradient-id-offset"]["title"] == "Gradient ID (offsets), per-sample"
    shutil.copytree("run", "cut")
    lose_the_last_task(Path("cut"))
    output(capsys, "resume", "cut")
    assert results(Path("cut")) == results(Path("run"))
    asked = ("gradient-id-full:batch3:own", "gradient-id-offset:3-shot/5:own")
    shown = output(capsys, "evaluate", "run", "--last", "--policy", *asked).split()
    assert {"softmax),", "(offsets),", "3-shot"} <= set(shown)
    listed = output(capsys, "list", "policies")
    assert "gradient-id-full" in listed and "needs --learner.gradient-offset 200" in listed


def test_a_run_without_statistics_says_which_option_gives_them(capsys: Capture) -> None:
    assert call(*TINY, "--evaluate.policies", "gradient-id-offset", "--output", "run") == 2
    assert "--learner.gradient-offset 200" in capsys.readouterr().err and not Path("run").exists()

"""The classes that a cross-entropy is over, through the command line: asked for, printed in every row, resumed."""

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
import yaml

from cli import BACKBONE, DIGITS, SMALL, call, output, read_json, refused, results
from softtf.cli.quickstart import _rows
from softtf.saving.header import Header
from support.folders import as_softtf_0_1_saved_it
from support.stopping import lose_the_last_task

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
RUN = ("run", "quickstart", *BACKBONE, *SMALL, *DIGITS)
DERPP = (*RUN, "--method", "der++", "--learner.classes", "all")


def test_a_run_tells_the_method_how_many_classes_are_to_come_and_resumes_with_that(capsys: Capture) -> None:
    out = output(capsys, *DERPP, "--output", "run")
    assert re.search(r"no task needed,? .*all ", out)
    assert yaml.safe_load(Path("run/config.yaml").read_text())["learner"]["total_classes"] == 10
    assert Header.read(Path("run/learner")).learner.total_classes == 10  # type: ignore[attr-defined]
    shutil.copytree("run", "cut")
    lose_the_last_task(Path("cut"))
    assert "resumed from task 1 of 2" in output(capsys, "resume", "cut")
    assert results(Path("cut")) == results(Path("run"))
    assert " all " in output(capsys, "evaluate", "run")
    message = refused(capsys, *DERPP, "--learner.total-classes", "9", "--output", "few")
    assert "total_classes is 9, too few for 10 classes" in message and not Path("few").exists()


@pytest.mark.parametrize(
    ("method", "options", "word"),
    [("ft", (), "seen"), ("ft", ("--learner.classes", "own"), "own"), ("linear-head", (), "own"), ("ncm", (), "–")],
)
def test_every_row_of_a_run_names_the_classes(
    method: str, options: tuple[str, ...], word: str, capsys: Capture
) -> None:
    out = output(capsys, *RUN, "--method", method, *options, "--output", "run")
    for text in (out, output(capsys, "evaluate", "run")):
        assert "Loss" in text and "over" in text
    assert read_json(Path("run/summary.json"))["classes"] == word
    rows = _rows(Path("run"))
    assert len(rows) == 2 and {row.classes for row in rows} == {word}


def test_a_run_saved_in_the_words_of_an_earlier_version_is_read(capsys: Capture) -> None:
    output(capsys, *RUN, "--method", "ewc", "--learner.fisher-samples", "2", "--output", "run")
    before = output(capsys, "evaluate", "run")
    as_softtf_0_1_saved_it(Path("run/learner"))
    for name, new, old in (
        ("config.yaml", "classes: own", "classes: task"),
        ("learner/learner.json", '"classes": "own"', '"classes": "task"'),
    ):
        text = Path("run", name).read_text()
        assert new in text
        Path("run", name).write_text(text.replace(new, old))
    strip = [" ".join(w for w in line.split() if "." not in w) for line in before.splitlines()]
    again = output(capsys, "evaluate", "run")
    assert [" ".join(w for w in line.split() if "." not in w) for line in again.splitlines()] == strip
    assert call("run", "--config", "run/config.yaml", "--output", "again") == 0
    assert yaml.safe_load(Path("again/config.yaml").read_text())["learner"]["classes"] == "own"


def test_the_old_word_on_the_command_line_is_refused(capsys: Capture) -> None:
    assert "own" in refused(capsys, *RUN, "--method", "ft", "--learner.classes", "task")


def test_every_row_of_a_table_names_the_classes(capsys: Capture) -> None:
    args = (
        "table",
        "methods",
        "--scale",
        "mini",
        "--streams",
        "cifar100-10",
        "--source",
        "digits",
        "--rows",
        "2",
        "9",
        "11",
    )
    small = (
        *("--set", "stream.num_tasks=2", "stream.train_per_class=6", "stream.test_per_class=3", "train.epochs=1"),
        *("train.precision=float32", "device=cpu", "backbone.name=random:test_vit", "backbone.image_size=32"),
    )
    for change, found in ((), ["–", "seen", "own"]), (("learner.classes=seen",), ["–", "seen", "seen"]):
        text = output(capsys, *args, *small, *change, "--format", "csv")
        ours = [row for row in csv.DictReader(io.StringIO(text)) if row["numbers"] == "ours"]
        by_method = {row["method"]: row["classes"] for row in ours}
        assert list(by_method.values()) == found, by_method
        table = output(capsys, *args, *small, *change, "--format", "markdown")
        assert "| Loss over |" in table and "Loss over: the classes that the cross-entropy of ours" in table
        lines = [line.split(" | ") for line in table.splitlines() if " | ours | " in line]
        assert [line[3] for line in lines] == found


def test_runs_that_differ_in_the_classes_are_not_taken_for_seeds_of_one(capsys: Capture) -> None:
    for word in ("seen", "own"):
        output(capsys, *RUN, "--method", "ft", "--learner.classes", word, "--output", word)
    rows = list(csv.DictReader(io.StringIO(output(capsys, "compare", "seen", "own", "--csv"))))
    assert [row["runs"] for row in rows] == ["1"] * len(rows) and len(rows) == 4

"""Own texts, data sets as tasks, predictions and the quickstart for texts from the command line, on a tiny BERT."""

import io
import json
import re
import sys
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from cli import MASKS, call, output, read_json, refused, results
from softtf.cli import quickstart
from softtf.cli.parse import options, parse
from softtf.learners import ONE_PASS
from softtf.recipes.recipes import recipe_named
from softtf.report.page import write_page
from softtf.runs.config import RunConfig
from support.pages import Page
from support.tiny_bert import save_model

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
WORDS = {"animals": ["ant", "bee", "cow"], "plants": ["oak", "elm", "fir"], "tools": ["saw", "axe", "awl"]}
SETS = ("news", "yelp", "amazon")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The settings of a tiny encoder in a folder, for the shortest of runs."""
    folder = save_model(tmp_path_factory.mktemp("models") / "tiny")
    layers = ("--learner.g-layers", "1", "--learner.e-layers", "3-4", "--learner.adapt.layers", "3-4")
    short = ("--train.epochs", "1", "--train.precision", "float32", "--device", "cpu", "--train.batch-size", "5")
    return ("--backbone.name", str(folder), "--backbone.max-tokens", "20", *layers, *short)


def without_layers(encoder: tuple[str, ...]) -> tuple[str, ...]:
    """The same settings for a method that has no layers and no epochs."""
    return (*encoder[:4], "--device", "cpu")


def write_texts(file: Path, task: bool) -> Path:
    """Fifteen rows per class; with a column of tasks, two that share their labels."""
    rows = [
        {"text": f'"{word}", it says, {i}', "label": label} | ({"task": f"part {i % 2}"} if task else {})
        for label, words in WORDS.items()
        for word in words
        for i in range(5)
    ]
    names = list(rows[0])
    lines = [",".join(names)]
    lines += [",".join('"' + row[name].replace('"', '""') + '"' for name in names) for row in rows]
    file.write_text("\n".join(lines), "utf-8")
    return file


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, encoder: tuple[str, ...]) -> Path:
    """A finished run on a file of texts with tasks."""
    folder = tmp_path_factory.mktemp("texts")
    assert call("run", write_texts(folder / "mine.csv", True), *MASKS, *encoder, "--output", folder / "run") == 0
    return folder / "run"


def test_a_file_with_a_task_column_becomes_a_stream_and_its_labels_are_shared(
    learned: Path, encoder: tuple[str, ...], capsys: Capture
) -> None:
    config = (learned / "config.yaml").read_text()
    assert "task_column: task" in config and "num_tasks: 2" in config and "recipe: own-texts" in config
    tasks = [read_json(learned / f"learner/task-00{n}.json") for n in (1, 2)]
    assert [len(task["classes"]) for task in tasks] == [3, 3] and tasks[0]["classes"] == tasks[1]["classes"]
    assert [task["name"] for task in tasks] == ["part 0", "part 1"]
    totals = read_json(learned / "accuracy.json")["oracle"]["total"]
    assert totals == [6, 3]  # a fifth of 9 and of 6 rows of each of three classes
    header = output(capsys, "evaluate", learned, "--backbone", encoder[1])
    assert "labels that tasks have in common merged" in " ".join(header.split())


def test_a_method_for_texts_alone_runs_on_a_file(tmp_path: Path, encoder: tuple[str, ...], capsys: Capture) -> None:
    known = [part for i in range(0, len(encoder), 2) if "layers" not in encoder[i] for part in encoder[i : i + 2]]
    where = ("--method", "idbr", *known, "--output", tmp_path / "run")
    assert call("run", write_texts(tmp_path / "mine.csv", True), *where) == 0
    assert set(read_json(tmp_path / "run/summary.json")["policies"]) == {"none", "oracle"}
    assert "IDBR" in output(capsys, "evaluate", tmp_path / "run", "--last", "--backbone", encoder[1])


def test_a_file_without_tasks_is_dealt_out_and_says_so(tmp_path: Path, capsys: Capture, encoder: tuple) -> None:
    file = write_texts(tmp_path / "mine.csv", False)
    text = output(capsys, "run", file, *MASKS, *encoder, "--stream.num-tasks", 3, "--output", "one")
    assert "mine.csv: no column 'task'; its classes are dealt to 3 tasks (--stream.num-tasks)" in text
    assert len(list(Path("one/learner").glob("task-*.json"))) == 3 and "merged" not in text
    assert call("run", "--config", "one/config.yaml", "--output", "two") == 0
    assert results(Path("one")) == results(Path("two"))


def test_the_number_of_tasks_said_is_the_number_made(tmp_path: Path, capsys: Capture, encoder: tuple) -> None:
    known = ("--method", "ncm", *without_layers(encoder))
    tasked, plain = write_texts(tmp_path / "tasked.csv", True), write_texts(tmp_path / "plain.csv", False)
    for file, more, tasks, words in (
        (tasked, (), 2, "column 'task' names 2 tasks (--stream"),
        (
            tasked,
            ("--stream.num-tasks", 1),
            1,
            "column 'task' names 2 tasks, of which the first 1 are learned (--stream",
        ),
        (tasked, ("--stream.task-column", "None", "--stream.num-tasks", 3), 3, "its classes are dealt to 3 tasks"),
        (plain, ("--stream.num-tasks", 3), 3, "its classes are dealt to 3 tasks"),
        (plain, (), 1, "its classes are dealt to 1 tasks"),
    ):
        place = tmp_path / f"{file.stem}-{tasks}-{len(more)}"
        text = output(capsys, "run", file, *known, *more, "--output", place)
        (said,) = [line for line in text.splitlines() if line.startswith(f"{file.name}: ") and "tasks" in line]
        assert words in said
        assert "examples are held out for testing, a fifth of every class" in text
        assert len(list(place.glob("learner/task-*.json"))) == tasks


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "is empty; its first row must name the columns"),
        ("text,label\n", "holds no rows"),
        ("text,label\na,x\nb,y\n", "no class has two examples, of which one could be held out"),
        ("text,label,task\na,x,1\nb,x,2\n", "no class has two examples, of which one could be held out"),
        ("text,label,task\na,x,1\nb,x,1\nc,x,2\n", "no examples of task 2; .* needs a class with two examples"),
    ],
)
def test_files_of_a_few_rows_get_a_clear_line(
    tmp_path: Path, capsys: Capture, encoder: tuple, rows: str, words: str
) -> None:
    (tmp_path / "few.csv").write_text(rows)
    known = ("--method", "ncm", *without_layers(encoder))
    message = refused(capsys, "run", tmp_path / "few.csv", *known, "--output", "new")
    assert "few.csv" in message and re.search(words, message)
    assert not Path("new").exists()


def test_two_rows_of_one_label_and_a_class_of_one_example_are_learned(
    tmp_path: Path, capsys: Capture, encoder: tuple
) -> None:
    known = ("--method", "ncm", *without_layers(encoder))
    (tmp_path / "few.csv").write_text("text,label\na,x\nb,x\n")
    text = output(capsys, "run", tmp_path / "few.csv", *known, "--output", "two")
    assert "few.csv: 1 of 2 examples are held out for testing, a fifth of every class\n" in text
    (tmp_path / "few.csv").write_text("text,label\na,x\nb,x\nc,y\n")
    text = output(capsys, "run", tmp_path / "few.csv", *known, "--output", "three")
    assert "1 of 3 examples are held out for testing, a fifth of every class; 1 with one example is not tested" in text
    assert read_json(Path("three/learner/task-001.json"))["classes"] == ["x", "y"]


def test_predict_takes_texts_files_of_texts_and_stdin(
    learned: Path, encoder: tuple[str, ...], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ("--backbone", encoder[1])
    (tmp_path / "lines.txt").write_text("one\n\ntwo words\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "a\\nb"}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    lines = output(
        capsys, "predict", learned, "a bee, it says", tmp_path / "lines.txt", tmp_path / "rows.jsonl", "-", *mine
    )
    found = [line.split("\t") for line in lines.splitlines()]
    assert [row[0] for row in found] == ["a bee, it says", "one", "two words", "a b", "from a pipe"]
    assert all(row[1] in WORDS and row[3] in ("task 1", "task 2") for row in found)
    (row,) = map(json.loads, output(capsys, "predict", learned, "two words", "--json", *mine).splitlines())
    (dash,) = output(capsys, "predict", learned, "--task", "1", *mine, "--", "--help -5").splitlines()
    assert dash.startswith("--help -5\t") and dash.endswith("task 1")
    assert row["text"] == "two words" and row["confidence"] == pytest.approx(float(found[2][2]), abs=6e-4)
    Path("columns.csv").write_text("body,label\nthree words here,1\n")
    assert output(capsys, "predict", learned, "columns.csv", "--input-column", "body", *mine).startswith(
        "three words here\t"
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\r\n\r\ntwo words\r\n")))
    assert [line.split("\t")[:3] for line in output(capsys, "predict", learned, "-", *mine).splitlines()] == [
        row[:3] for row in found[1:3]
    ]
    Path("empty").mkdir()
    assert "empty is a folder" in refused(capsys, "predict", learned, "empty", *mine)
    Path("tables").mkdir()
    datasets.Dataset.from_dict({"text": ["one", "two words"]}).to_parquet("tables/train-0.parquet")
    lines = output(capsys, "predict", learned, "tables", *mine).splitlines()
    assert [line.split("\t")[:3] for line in lines] == [row[:3] for row in found[1:3]]
    assert "there is no file missing.txt" in refused(capsys, "predict", learned, "missing.txt", *mine)


def test_data_sets_as_tasks_with_merged_labels_and_apart(tmp_path: Path, capsys: Capture, encoder: tuple) -> None:
    for name in SETS:
        labels = ["world", "sports"] if name == "news" else ["bad", "good"]
        for split, n in (("train", 4), ("test", 2)):
            texts = [f"{name} {label} {i} {split}" for label in labels for i in range(n)]
            table = pyarrow.table({"text": texts, "label": [c for c in range(2) for _ in range(n)]})
            pyarrow.parquet.write_table(table, tmp_path / f"{name}_{split}.parquet")
        (tmp_path / f"{name}_labels.txt").write_text("\n".join(labels))
    start = ("run", "text-order-4", *MASKS, *encoder, "--stream.source", tmp_path, "--stream.num-tasks", 3)
    start = (*start, "--stream.datasets", *SETS)
    merged = " ".join(output(capsys, *start, "--output", "merged").split())
    assert "labels that tasks have in common merged" in merged
    assert read_json(Path("merged/learner/learner.json"))["allow_repeated"]
    apart = " ".join(output(capsys, *start, "--stream.no-merge-labels", "--output", "apart").split())
    assert "labels of every data set apart" in apart
    found = [read_json(Path(f"{run}/learner/task-003.json"))["classes"] for run in ("merged", "apart")]
    assert found == [["bad", "good"], ["bad (amazon)", "good (amazon)"]]
    assert call("resume", "merged", "--backbone", encoder[1]) == 0
    assert "num_tasks must be the number of datasets" in refused(capsys, *start[:-6], "--stream.datasets", *SETS)
    assert "Full: 115,000 training rows per data set and 7,600 test rows per data set" in merged
    fewer = [
        f"{name} has {rows}" for name in SETS for rows in ("8 training rows, not 115,000", "4 test rows, not 7,600")
    ]
    assert read_json(Path("merged/summary.json"))["fewer_rows"] == fewer
    assert [text for text in fewer if text not in merged] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "is empty"), ("txt,label\na,b\n", "'text'; did you mean 'txt'"), ("text,label\n", "holds no rows")],
)
def test_a_file_that_cannot_be_used_is_one_line_and_leaves_nothing(content: str, words: str, capsys: Capture) -> None:
    Path("mine.csv").write_text(content)
    assert words in refused(capsys, "run", "mine.csv")
    assert [path.name for path in Path().iterdir()] == ["mine.csv"]


def test_columns_of_other_names_are_counted_before_the_run(capsys: Capture, encoder: tuple[str, ...]) -> None:
    rows = ["text,domain,topic,task"] + [f"words {i},d{i % 3},{'abcd'[i % 4]},t{i % 12}" for i in range(120)]
    Path("mine.csv").write_text("\n".join(rows))
    more = ("--method", "ncm", "--stream.label-column", "topic")
    for words, said, tasks in (
        (("mine.csv",), "column 'task' names 12 tasks", 12),
        (("own-texts", "--stream.source", "mine.csv"), "column 'task' names 12 tasks", 12),
        (("mine.csv", "--stream.task-column", "domain"), "column 'domain' names 3 tasks", 3),
        (("mine.csv", "--stream.task-column", "None"), "its classes are dealt to 2 tasks", 2),
    ):
        shown = output(capsys, "run", *words, *without_layers(encoder), *more, "--output", f"run {tasks} {len(words)}")
        assert said in shown
        assert len(list(Path(f"run {tasks} {len(words)}").glob("learner/task-*.json"))) == tasks


def test_labels_that_are_lists_are_one_line(capsys: Capture, encoder: tuple[str, ...]) -> None:
    Path("mine.jsonl").write_text("\n".join(json.dumps({"text": "a", "label": ["x"]}) for _ in range(9)))
    assert "not one hashable value" in refused(capsys, "run", "mine.jsonl", *MASKS, *encoder)


def test_a_text_that_is_none_is_one_line(capsys: Capture, encoder: tuple[str, ...]) -> None:
    rows = [{"text": "\ud800" if n == 3 else f"text {n}", "label": n % 2} for n in range(12)]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert "lone surrogate" in refused(capsys, "run", "mine.jsonl", *MASKS, *encoder)


def test_a_file_that_is_not_there(capsys: Capture) -> None:
    assert "nowhere.csv cannot be read" in refused(capsys, "run", "nowhere.csv")


def test_the_quickstart_of_docstrings_can_be_stopped_and_resumed(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, encoder: tuple[str, ...]
) -> None:
    settings = ("--stream.num-tasks", "2", "--stream.train-per-class", "3", "--stream.test-per-class", "2")

    def tiny(recipe: str, method: str) -> object:
        config = recipe_named(recipe, method)
        mine = [arg for pair in zip(encoder[::2], encoder[1::2], strict=True) for arg in pair]
        unread = "--train." if config.learner.training == ONE_PASS else "nothing"
        known = {name for name in options(config) if not name.startswith(unread)}
        kept = [arg for i in range(0, len(mine), 2) if mine[i] in known for arg in mine[i : i + 2]]
        return parse(RunConfig, [*kept, *settings], "softtf", config)

    monkeypatch.setattr(quickstart, "recipe_named", tiny)
    text = output(capsys, "quickstart", "--text", "--output", "q")
    assert "Docstrings of Python's standard library" in " ".join(text.split()) and "softtf run MY_TEXTS.csv" in text
    first = Path("q/table.md").read_text()
    assert "DualPrompt + Soft-TF" in first
    assert call("resume", "q") == 0 and Path("q/table.md").read_text() == first
    assert "did you mean --text" in refused(capsys, "quickstart", "--txt")


def test_a_page_of_texts_shows_excerpts_and_only_if_wanted(learned: Path, tmp_path: Path) -> None:
    for images in (True, False):
        page = Page(write_page([learned], tmp_path / "page.html", images).read_text())
        assert not page.attributes("img", "src")
        quoted = [tag for tag, _ in page.tags].count("q")
        assert bool(quoted) == images and any("it says" in text for text in page.texts) == images

"""`softtf table` on runs of a second: from start to table, stopped, killed, gone on with, misspelt."""

import csv
import io
import json
import re
import shutil
import signal
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli import call, contents, output, read_json, refused, results
from softtf.evaluation import AccuracyMatrix, metric, scorer
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.runs import learn as learning
from softtf.runs.config import EvaluateConfig, RunConfig
from softtf.screen import Screen
from softtf.sweeps import processes, work
from softtf.sweeps.here import Here
from softtf.sweeps.place import place
from support.registries import forgetting_names
from support.stopping import Killer, at_call, in_another_process, send
from support.tables import ROWS, RUNS, SMALL, TABLE, WHERE

Capture = pytest.CaptureFixture[str]


def runs() -> list[Path]:
    return sorted(path.parent for path in RUNS.glob("*/seed-*/config.yaml"))


def never(*args: object) -> Any:
    raise AssertionError("a finished run was run again")


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table's runs that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    assert call(*TABLE, "--output", folder) == 0
    return folder


@pytest.fixture(scope="module")
def whole(unstopped: Path) -> dict[str, dict[str, bytes]]:
    """The results of its runs, by the run's folder."""
    return {str(p.parent.relative_to(unstopped)): results(p.parent) for p in unstopped.glob("*/*/summary.json")}


@pytest.fixture
def finished(unstopped: Path) -> None:
    """A finished table in its usual place."""
    shutil.copytree(unstopped, RUNS)


def go_on(capsys: Capture, whole: dict[str, dict[str, bytes]]) -> str:
    """Give the same command again; it must end as one that nothing stopped."""
    text = output(capsys, *TABLE)
    assert {str(path.relative_to(RUNS)): results(path) for path in runs()} == whole
    assert not list(RUNS.rglob("*.tmp"))
    return text


@pytest.mark.slow
def test_a_table_from_start_to_end_and_again(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    first = output(capsys, *TABLE)
    assert len(runs()) == 2
    assert re.search(r"run 1 of 2, seed 0: DualPrompt on cifar100-10: finished in .+; 1 left, about", first)
    assert re.search(r"run 2 of 2, .*finished in .+; none left", first)
    for part in ("MINI SCALE", "ViT-B/16", "paper's policy,", "per-sample (headline):", "97.17 / 0.40", "1.76M"):
        assert part in first
    assert "cifar100 from digits" in first and "train.epochs=1" in first
    before = contents(RUNS)
    asked = before["table-8.json"].decode()
    monkeypatch.setattr(work, "learn_stream", never)
    again = output(capsys, *TABLE)
    assert again[again.index("Table 8") :] == first[first.index("Table 8") :]
    assert len(re.findall(r"finished in .+ before", again)) == 2
    other = output(capsys, "table", "7", *TABLE[2:])  # the same rows by time
    assert "12120" in other and "97.17" not in other
    assert contents(RUNS) == {**before, "table-7.json": asked.replace('"8"', '"7"', 1).encode()}


@pytest.mark.slow
def test_seeds_give_mean_and_deviation(capsys: Capture) -> None:
    args = ("table", "8", *WHERE, *SMALL, "--rows", "1", "--seed", "0", "1", "1", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(output(capsys, *args))))
    summaries = [read_json(path / "summary.json") for path in runs()]
    assert [s["seed"] for s in summaries] == [0, 1]
    assert [(line["numbers"], line["policy"], line["seeds"]) for line in lines] == [
        ("paper", "Prompt ID, majority of same-task batch(24)", "1"),
        ("ours", "Prompt ID, per-sample", "2"),
        ("ours", "Prompt ID, majority of same-task batch(24)", "2"),
        ("ours", "oracle (task given)", "2"),
    ]
    for line, code in zip(lines[1:], ("prompt-id", "prompt-id:vote24", "oracle"), strict=True):
        timed = [(f"test_s_{kind}", f"test_seconds_{kind}") for kind in ("this_run", "from_nothing")]
        for column, name in (("acc", "acc"), ("forget", "forget"), *timed):
            values = [s["policies"][code][name] for s in summaries]
            assert float(line[column]) == pytest.approx(statistics.mean(values), abs=0.006)
            assert float(line[f"{column}_std"]) == pytest.approx(statistics.stdev(values), abs=0.006)
    text = output(capsys, *args[:-2])
    mean, deviation = lines[3]["acc"], lines[3]["acc_std"]
    assert f"{mean}±{deviation}" in text and "seeds 0, 1" in text


@pytest.mark.slow
def test_formats_stand_alone_on_stdout(finished: None, capsys: Capture) -> None:
    capsys.readouterr()
    for form, first, parts in (
        ("markdown", "## Table 8", ["| DualPrompt | Prompt ID | paper | – | – | 86.50 / 5.77 |", "- per-sample:"]),
        (
            "latex",
            "% Table 8",
            [r"DualPrompt & Prompt ID & paper & -- & -- & 86.50 / 5.77 &", r"\bottomrule"],
        ),
        ("csv", "table,stream,labels,method", ["8,cifar100-10,,DualPrompt,Prompt ID,paper,–,"]),
    ):
        assert call(*TABLE, "--format", form) == 0
        out, err = capsys.readouterr()
        assert out.startswith(first)
        assert [part for part in parts if part not in out] == []
        assert "finished" in err and "finished" not in out


FORMS = ("terminal", "markdown", "latex", "csv")


def test_the_weights_of_every_run_stand_in_every_form(finished: None, capsys: Capture) -> None:
    headers = [read_json(path / "learner/learner.json") for path in runs()]
    (sha,) = {header["backbone_sha256"] for header in headers}
    name = f"random:vit_tiny_patch16_224 (SHA-256 {sha[:12]})"
    summary = runs()[0] / "summary.json"
    assert {(s["weights"], s["weights_sha256"]) for s in (read_json(p / "summary.json") for p in runs())} == {
        (name, sha)
    }

    def tables() -> dict[str, str]:
        texts = {form: output(capsys, *TABLE, "--format", form).replace(r"\_", "_") for form in FORMS}
        return {form: " ".join(text.split()) for form, text in texts.items()}

    same = tables()
    for form, text in same.items():
        assert name in text, form
        assert form == "csv" or (text.count(sha[:12]) == 1 and "Weights" not in text), form
    content = read_json(summary)
    content.pop("sha256")  # which earlier versions did not write
    old = {key: value for key, value in content.items() if not key.startswith("weights")}
    summary.write_text(json.dumps(old))  # as earlier versions wrote it: the learner's header knows
    assert tables() == same
    summary.write_text(json.dumps({**content, "weights": "others (SHA-256 ba9876543210)"}))
    for form, text in tables().items():
        assert "ba9876543210" in text and sha[:12] in text, form
        assert form == "csv" or "Weights" in text, form


def test_a_dry_run_lists_and_leaves_nothing(unstopped: Path, capsys: Capture) -> None:
    text = output(capsys, *TABLE, "--dry-run")
    assert "2 runs for 3 rows: 2 left; about 120 training examples" in text
    assert "learner.adapt.targets=only attn" in text and "train.epochs=1" in text
    assert list(Path().iterdir()) == []
    shutil.copytree(unstopped, RUNS)
    before = contents(RUNS)
    assert "2 runs for 3 rows: none left" in output(capsys, *TABLE, "--dry-run")
    assert contents(RUNS) == before


@pytest.mark.slow
def test_ctrl_c_then_the_same_command(capsys: Capture, whole: dict[str, dict[str, bytes]]) -> None:
    stop = at_call(4, DualPromptLearner, "loss", send(signal.SIGINT))  # each task has two steps
    assert in_another_process(stop, *TABLE) == 130
    assert "0 of 2 runs are finished" in Path("stdout").read_text()
    assert Path("stderr").read_text() == "softtf: stopped\n"
    assert "stopped after 1 tasks" in go_on(capsys, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        at_call(1, DualPromptLearner, "loss", send(signal.SIGKILL)),
        at_call(6, DualPromptLearner, "loss", send(signal.SIGKILL)),
        at_call(1, scorer, "evaluate", send(signal.SIGKILL)),
        at_call(2, learning, "write_results", send(signal.SIGKILL)),
    ],
    ids=["first-step", "second-run", "first-evaluation", "last-results"],
)
def test_killed_then_the_same_command(moment: Any, capsys: Capture, whole: dict[str, dict[str, bytes]]) -> None:
    assert in_another_process(moment, *TABLE) == -signal.SIGKILL
    go_on(capsys, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "torn"), [(1, False), (3, False), (5, True), (6, False), (8, True)])
def test_a_half_made_folder_is_repaired(
    number: int, torn: bool, capsys: Capture, whole: dict[str, dict[str, bytes]]
) -> None:
    killer = Killer(RUNS, number, torn)
    assert in_another_process(lambda: sys.addaudithook(killer), *TABLE) == -signal.SIGKILL  # type: ignore[arg-type]
    go_on(capsys, whole)


@pytest.mark.slow
def test_another_device_is_no_other_run(capsys: Capture, whole: dict[str, dict[str, bytes]]) -> None:
    stop = at_call(4, DualPromptLearner, "loss", send(signal.SIGKILL))
    args = ["device=auto" if arg == "device=cpu" else arg for arg in TABLE]
    assert in_another_process(stop, *args) == -signal.SIGKILL
    go_on(capsys, whole)


def test_the_batch_of_scoring_makes_no_other_run(tmp_path: Path) -> None:
    config = RunConfig()
    for size in (1, 60, 120):
        scored = replace(config, evaluate=EvaluateConfig(batch_size=size))
        assert place(tmp_path, scored) == place(tmp_path, config)


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    capsys.readouterr()
    assert call(*TABLE[: -len(ROWS)], "train.learning_rate=1e30", *ROWS) == 2
    out = capsys.readouterr().out
    assert out.count(": failed: ") == 2
    assert "failed: DualPrompt on cifar100-10" in out and "86.50 / 5.77" in out


def test_several_runs_at_once_are_those_of_a_sweep(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    engaged: list[int] = []

    class One(Here):
        """As if there were processes."""

        def __init__(self, places: int, prepare: object) -> None:
            engaged.append(places)
            super().__init__(Screen(quiet=True))

    monkeypatch.setattr(processes, "Processes", One)
    assert "none left" in output(capsys, *TABLE[: -len(ROWS)], "--rows", "1", "--jobs", "3")
    assert engaged == [3] and "1 of 1 runs are finished" in output(capsys, "sweep", "status", RUNS)


def test_a_damaged_summary_is_named(finished: None, capsys: Capture) -> None:
    (runs()[0] / "summary.json").write_text("{}")
    assert "summary.json cannot be read" in refused(capsys, *TABLE)


MISSPELT = [
    (("table", "2", "--streams", "text-order-8"), ["stream", "'text-order-8'", "did you mean 'text-order-"]),
    (("table", "13"), ["table", "'13'"]),
    (("table", "layer"), ["'layer'", "'layers'"]),
    (("table", "--scale", "mini"), ["name a table"]),
    (("table", "8", "--stream", "cifar100-10"), ["--stream"]),
    (("table", "8", "--streams", "cifar100"), ["stream", "'cifar100'", "cifar100-10"]),
    (("table", "8", "--streams", "cifr100-10"), ["stream", "'cifr100-10'", "'cifar100-10'"]),
    (("table", "8", "--rows", "15"), ["no row 15", "1 to 14"]),
    (("table", "8", "--rows", "dual-promt"), ["row of table 8", "'dual-promt'", "DualPrompt"]),
    (("table", "8", "--scale", "mnii"), ["mnii"]),
    (("table", "8", "--seed", "x"), ["--seed must be", "x"]),
    (("table", "8", "--seeds", "x"), ["--seeds must be", "x"]),  # its name in softtf 0.1
    (("table", "8", "--format", "html"), ["html", "markdown"]),
    (("table", "8", "--source", "/tmp"), ["--source", "cifar100=/tmp"]),
    (("table", "8", "--source", "cifr100=/tmp"), ["'cifr100'", "'cifar100'"]),
    (("table", "8", "--source", "cifar100=/no/such/folder"), ["'/no/such/folder'"]),
    (("table", "8", *WHERE, "--set", "train.epoch=1"), ["'epoch'", "'epochs'"]),
    (("table", "8", *WHERE, "--set", "trian.epochs=1"), ["'trian'", "'train'"]),
    (("table", "8", *WHERE, "--set", "train.epochs"), ["NAME=VALUE"]),
    (("table", "8", *WHERE, "--set", "train.epochs=x"), ["epochs", "'x'"]),
    (("table", "8", *WHERE, "--set", "seed=1"), ["give --seed"]),
    (("table", "8", *WHERE, "--set", "stream.source=digits"), ["--source"]),
    (("table", "8", *WHERE, "--set", "evaluate.policies=[oracle]"), ["evaluate.policies"]),
    (("table", "3", "--set", "backbone.weights=x.safetensors"), ["backbone.weights", "dino", "--rows"]),
    (("table", "8", *WHERE, "--rows", "only", "--set", "learner.adapt.layers=3"), ["learner.adapt.layers"]),
]


@pytest.mark.parametrize(("args", "parts"), MISSPELT)
def test_wrong_words_are_answered_in_a_line(args: tuple[str, ...], parts: list[str], capsys: Capture) -> None:
    message = refused(capsys, *args)
    assert [part for part in parts if part not in message] == []
    assert list(Path().iterdir()) == []


def test_tables_are_listed(capsys: Capture) -> None:
    text = output(capsys, "table")
    for number in range(1, 13):
        assert re.search(rf"^ +{number}  ", text, re.MULTILINE)
    assert "the share of weights that hard masks keep" in output(capsys, "list", "tables")


def test_rows_that_cannot_be_run_are_said(capsys: Capture) -> None:
    text = output(capsys, "table", "3", "--scale", "mini", "--rows", "DualPrompt,", "--dry-run")
    assert "left out: DualPrompt, DINO on cub200-5: at mini scale there is one backbone" in text
    assert "seed 0, rows: 1 DualPrompt, ImageNet-21K (Prompt ID)" in text
    assert "no row of table 3" in refused(capsys, "table", "3", "--scale", "mini", "--rows", "SAM")


def test_a_table_runs_on_any_recipe_and_shows_a_metric_of_the_users_own(capsys: Capture) -> None:
    with forgetting_names():

        @metric("plasticity", "Plasticity %")
        def plasticity(matrix: AccuracyMatrix) -> float:
            return 12.5

        place = ("table", "methods", "--rows", "2", "--streams", "quickstart")
        said = output(capsys, *place, *SMALL)
        assert "5 tasks of 2 digits" in said and "quickstart is not a stream of the paper" in said
        assert "Plasticity %: 12.50" in said and "here in 2 tasks" in said
        markdown = output(capsys, *place, *SMALL, "--format", "markdown")
        assert "| Plasticity %: per-sample / paper's policy |" in markdown and "| 12.50 / 12.50 |" in markdown
        (none, *_) = csv.DictReader(io.StringIO(output(capsys, *place, *SMALL, "--format", "csv")))
        assert none["Plasticity %"] == "12.50"


def test_a_recipe_for_own_data_asks_for_them(capsys: Capture) -> None:
    asked = ("table", "methods", "--rows", "1", "--streams", "own-images", "--dry-run")
    assert "own-images learns your own data: say where they are with --source" in refused(capsys, *asked)
    Path("images").mkdir()
    assert "stream.source=" in output(capsys, *asked, "--source", "images")

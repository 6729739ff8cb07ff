"""What a run leaves behind; list and quickstart."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from cli import BACKBONE, DIGITS, POLICIES, SMALL, TINY, call, contents, output, read_json, results, tiny_quickstart
from softtf.adaptations import AdaptationSpec
from softtf.backbones import BackboneSpec
from softtf.cli import quickstart
from softtf.learners import LearnerSpec
from softtf.recipes import RECIPES, known_methods
from softtf.recipes.methods import title_of
from softtf.runs.predictions import file_name
from softtf.streams import STREAMS

Capture = pytest.CaptureFixture[str]


def test_the_files_of_a_run(run: Path) -> None:
    names = set(contents(run))
    assert names >= {"config.yaml", "environment.json", "events.jsonl", "accuracy.json", "summary.json"}
    assert names >= {f"accuracy/{file_name(policy)}.csv" for policy in POLICIES}
    assert names >= {"learner/learner.json", "learner/task-001.safetensors", "learner/task-002.json"}
    assert not [name for name in names if name.endswith((".tmp", ".pt", ".pkl", ".bin"))]
    environment = read_json(run / "environment.json")
    assert {"python", "packages", "commit", "system", "device"} <= environment.keys()
    assert {"torch", "timm", "numpy"} <= environment["packages"].keys()


@pytest.mark.slow
def test_one_event_an_epoch_and_then_one_each_for_what_follows() -> None:
    assert call(*TINY, "--train.epochs", 3, "--output", "new") == 0
    events = [json.loads(line) for line in Path("new/events.jsonl").read_text().splitlines()]
    expected = [("epoch", 1), ("epoch", 2), ("epoch", 3), ("consolidation", None), ("evaluation", None)] * 2
    assert [(e["event"], e.get("epoch")) for e in events] == expected
    assert [e["task"] for e in events] == [events[0]["task"]] * 5 + [events[0]["task"] + 1] * 5
    for event in events[:3]:
        assert event["losses"].keys() == {"cross_entropy", "matching"} and event["samples"] == 5 * 6


def test_csv_summary_and_counts_tell_the_same(run: Path) -> None:
    accuracy, summary = read_json(run / "accuracy.json"), read_json(run / "summary.json")
    assert accuracy.keys() == summary["policies"].keys() == set(POLICIES)
    for policy, counts in accuracy.items():
        assert counts["total"] == [15, 15]  # five classes of three test images each
        after = [[100 * c / 15 for c in row] for row in counts["correct"]]
        rows = list(csv.reader(io.StringIO((run / "accuracy" / f"{file_name(policy)}.csv").read_text())))
        found = [float(rows[1][1]), float(rows[1][2]), float(rows[2][2])]
        assert found == pytest.approx([after[0][0], *after[1]], abs=1e-3)
        assert rows[2][1] == ""
        found = summary["policies"][policy]
        assert found["acc"] == pytest.approx(sum(after[1]) / 2)
        assert found["forget"] == pytest.approx(max(0, after[0][0] - after[1][0]))
        assert found["task_identity"] == pytest.approx(100 * sum(counts["task_correct"][1]) / 30)
    assert summary["policies"]["oracle"]["task_identity"] == 100


def test_the_config_of_a_run_runs_again_to_the_same_bytes(run: Path, capsys: Capture) -> None:
    out = output(capsys, "run", "--config", run / "config.yaml", "--output", "again")
    assert results(Path("again")) == results(run)
    assert Path("again/config.yaml").read_bytes() == (run / "config.yaml").read_bytes()
    assert "DualPrompt + Soft-TF" in out and "run folder: again" in out


def test_a_config_can_be_changed_on_the_way(run: Path) -> None:
    assert call("run", "--config", run / "config.yaml", "--seed", 5, "--output", "again") == 0
    assert yaml.safe_load(Path("again/config.yaml").read_text()) == {
        **yaml.safe_load((run / "config.yaml").read_text()),
        "seed": 5,
    }


def test_without_output_a_run_names_its_folder(capsys: Capture) -> None:
    args = ("run", "quickstart", "--method", "linear-head", *BACKBONE, *SMALL, *DIGITS, "--seed=3")
    assert "runs/quickstart-linear-head-seed3" in output(capsys, *args)
    summary = read_json(Path("runs/quickstart-linear-head-seed3/summary.json"))
    assert summary["method"] == "linear-head" and summary["seed"] == 3


@pytest.mark.slow
def test_list_prints_all_there_is(capsys: Capture) -> None:
    text = output(capsys, "list")
    for kind in ("recipes", "methods", "backbones", "adaptations", "learners", "streams", "policies"):
        assert f"{kind}:" in text
        assert output(capsys, "list", kind).startswith(f"{kind}:")
    kinds = (*AdaptationSpec.kinds(), *LearnerSpec.kinds())
    names = [*RECIPES, *known_methods(), *STREAMS, *kinds, "vit_tiny_patch8_64", "oracle"]
    assert [name for name in names if f"  {name} " not in text] == []
    assert "vit_base_patch16_224.orig_in21k" in output(capsys, "list", "backbones")


@pytest.mark.slow
def test_quickstart_shows_one_table(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "quickstart", tiny_quickstart())
    monkeypatch.setenv("COLUMNS", "120")
    Path("runs/quickstart").mkdir(parents=True)
    out = output(capsys, "quickstart", "--seed", 2)
    table = out[out.index("Handwritten digits") :]
    for title in (title_of(method) for method in quickstart.METHODS):
        assert len(re.findall(rf"^\s*{re.escape(title)}(?!\w)", table, re.M)) >= 1
    for title in ("Prompt ID, per-sample", "Gradient ID, per-sample", "oracle (task given)", "ACC", "Forget", "Task"):
        assert title in table
    assert "softtf evaluate" in table and "softtf run" in table
    folder = Path("runs/quickstart-2")
    assert not any(Path("runs/quickstart").iterdir())
    assert {p.name for p in folder.iterdir()} == {*quickstart.METHODS, "table.md", "quickstart.json", "report.html"}
    assert f"{folder / 'report.html'}" in "".join(out.split("\n"))
    markdown = (folder / "table.md").read_text()
    first = read_json(folder / quickstart.METHODS[0] / "summary.json")["policies"]["none"]["acc"]
    assert f"{title_of(quickstart.METHODS[0])}: {first:.1f}% right" in out[: out.index(title_of("linear-head"))]
    for method in quickstart.METHODS:
        summary = read_json(folder / method / "summary.json")
        assert summary["seed"] == 2
        for policy in summary["policies"].values():
            assert f"{policy['acc']:.2f}" in table and f"{policy['acc']:.2f}" in markdown


@pytest.mark.slow
def test_the_weights_stand_in_what_run_evaluate_and_quickstart_print_and_write(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = read_json(run / "learner/learner.json")["backbone_sha256"]
    weights = f"random:test_vit (SHA-256 {sha[:12]})"
    printed = {
        "run": output(capsys, *TINY, "--output", "new"),
        "evaluate": output(capsys, "evaluate", "new", "--policy", "oracle", "--last"),
    }
    monkeypatch.setitem(RECIPES, "quickstart", tiny_quickstart())
    printed["quickstart"] = output(capsys, "quickstart", "--output", "quick")
    printed["table.md"] = Path("quick/table.md").read_text()
    for name, text in printed.items():
        named = weights if name in ("run", "evaluate") else "random:vit_tiny_patch16_224 (SHA-256 "
        assert named in " ".join(text.split()), name
    assert read_json(run / "summary.json")["weights_sha256"] == sha
    assert read_json(Path("new/rescored/oracle-last.json"))["weights"] == weights


def test_a_file_of_weights_is_named_and_its_place_is_not() -> None:
    assert BackboneSpec("vit_x", weights=Path("/home/me/w.safetensors")).weights_title("ab" * 32) == (
        "vit_x from w.safetensors (SHA-256 abababababab)"
    )
    Path("here").mkdir()
    assert BackboneSpec(str(Path("here").resolve())).weights_title("ab" * 32) == "here (SHA-256 abababababab)"
    assert BackboneSpec("openai/clip").weights_title("ab" * 32) == "openai/clip (SHA-256 abababababab)"

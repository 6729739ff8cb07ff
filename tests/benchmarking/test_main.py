"""Every case runs, on a small ViT; options are checked; the report is what was measured."""

import json
import time
from dataclasses import replace

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import timing
from benchmarks.results import Row, Target, markdown, quantity
from benchmarks.setup import CPU, on_gpu, quickly
from benchmarks.timing import busy_seconds, covered, in_turns, peak_bytes

from softtf.backbones import BackboneSpec
from softtf.errors import UserError

GPUS = ("training", "recipe", "inference", "data")  # groups with sizes for a GPU
SMALL = BackboneSpec("random:vit_tiny_patch16_224", image_size=32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setup in CPU.items():
        monkeypatch.setitem(CPU, name, replace(setup, backbone=SMALL))
    monkeypatch.setattr(command, "matrix_rate", lambda dtype, device: 1e9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "part"),
    [(group, "cpu") for group in command.GROUPS] + [(group, "gpu") for group in GPUS],
)
def test_every_case_runs(small: None, group: str, part: str) -> None:
    """The GPU's sizes too, cut down, where there is none and a case reads them."""
    setup = CPU["vit-b"]
    setup = replace(quickly(on_gpu(setup) if part == "gpu" else setup), files=3)
    results = list(command.GROUPS[group](setup))
    rows = [r for r in results if isinstance(r, Row)]
    assert rows and (len(results) > len(rows)) == (group != "kernels")
    for row in rows:
        assert row.unit == "B" or row.ours > 0
        assert row.twin is None or row.twin > 0
    assert all(isinstance(t, Target) for t in results if not isinstance(t, Row))
    told = " ".join(str(t) for t in results if isinstance(t, Target))
    for words in ("images a second", "share of the matrix rate", "waits for the host", "visits and 200 checkpoints"):
        assert group != "recipe" or told.count(words) == (3 if part == "gpu" else 2)  # one without recording
    assert group != "training" or ("CIFAR" in str(results[-1])) == (part == "gpu")


@pytest.mark.slow
def test_the_report_is_printed_and_written(small: None, tmp_path, capsys) -> None:
    assert command.main(["--quick", "--only", "growth-bundled", "data-bundled", "--output", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    written = (tmp_path / "new" / "benchmarks.md").read_text()
    assert printed == written
    assert "QUICK" in written and "commit" in written and "MISSED" not in written and " met" not in written
    found = json.loads((tmp_path / "new" / "benchmarks.json").read_text())
    assert {r["kind"] for r in found["results"]} == {"row", "target"}
    assert found["environment"]["threads"] == torch.get_num_threads()
    for row in found["results"]:
        assert row["name"] in written


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--ony", "data"], "unknown option '--ony'; did you mean '--only'"),
        (["--only", "trainig"], "unknown case 'trainig'; did you mean 'training'"),
        (["--only", "growth-bundle"], "did you mean 'growth-bundled'"),
        (["--only"], "expected at least one argument"),
        (["extra"], "unknown option 'extra'"),
        (["--device", "gpu"], "'gpu' is unknown"),
        (["--output", __file__], "File exists"),
        (["--against", ".", "--only", "data"], "leave out --only and --device"),
        (["--against", ".", "--device", "cuda"], "leave out --only and --device"),
        (["--against", "."], ". is no checkout of github.com/ihaeyong/Soft-TF: there is no engine.py"),
    ],
)
def test_wrong_options_are_one_line(args: list[str], words: str, capsys) -> None:
    assert command.main(args) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.count("\n") == 1 and words in found.err


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (UserError("there are no\nweights"), 2, "benchmarks: error: there are no weights"),
        (KeyboardInterrupt(), 130, "benchmarks: stopped"),
    ],
)
def test_what_ends_the_measuring_is_one_line_below_the_rows_so_far(
    small: None, failure: BaseException, code: int, words: str, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(setup):
        yield Row("first row", 0.5)
        raise failure

    monkeypatch.setitem(command.GROUPS, "data", measure)
    assert command.main(["--only", "data-bundled", "--output", str(tmp_path)]) == code
    found = capsys.readouterr()
    assert found.err == words + "\n" and "first row" in found.out
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_written_is_one_line(small: None, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(command.GROUPS, "data", lambda setup: iter([Row("first row", 0.5)]))
    (tmp_path / "benchmarks.md").mkdir()
    assert command.main(["--only", "data-bundled", "--output", str(tmp_path)]) == 2
    found = capsys.readouterr()
    assert found.err.count("\n") == 1 and "benchmarks.md" in found.err and "first row" in found.out


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = {name: lambda n=name: order.append(n) for name in "ab"}
    best = in_turns(calls, torch.device("cpu"), seconds=0, rounds=3)
    assert order == ["a", "b"] * 3 and best.keys() == calls.keys() and all(t >= 0 for t in best.values())


def test_more_rounds_are_run_while_there_is_time() -> None:
    runs: list[int] = []
    in_turns({"a": lambda: runs.append(1)}, torch.device("cpu"), seconds=60, rounds=1)
    assert len(runs) == 30


def test_what_takes_long_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    calls = {"long": lambda: (runs.append("long"), time.sleep(0.02)), "short": lambda: runs.append("short")}
    monkeypatch.setattr(timing, "LONG", 0.01)
    best = in_turns(calls, torch.device("cpu"), seconds=0, rounds=3)
    assert runs == ["long", "short", "short", "short"] and best["long"] >= 0.02 > best["short"]


@pytest.mark.slow
def test_peak_memory_sees_what_a_call_frees_again() -> None:
    def call() -> None:
        torch.ones(50_000_000, dtype=torch.uint8).max()

    nothing, something = (peak_bytes(c, torch.device("cpu")) for c in (lambda: None, call))
    assert 45e6 < something - nothing < 80e6


def test_spans_that_overlap_count_once() -> None:
    assert covered([(70, 80), (10, 20), (15, 30), (16, 18), (30, 31)]) == 31
    assert covered([]) == 0


def test_a_device_is_busy_while_it_computes_and_not_while_the_host_does_something_else() -> None:
    def call() -> None:
        torch.ones(300, 300) @ torch.ones(300, 300)
        time.sleep(0.1)

    assert 0 < busy_seconds(call, torch.device("cpu")) < 0.1


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(2.5, "s", "2.5 s"), (0.0321, "s", "32.1 ms"), (4.2e-5, "s", "42 us"), (28311552, "B", "28.31 MB")],
)
def test_quantities_are_readable(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_rows_and_targets() -> None:
    row = Row("step", 0.5, 2.0, 0.25)
    assert row.cells == ("step", "500 ms", "2 s", "4.00", "250 ms", "50%")
    assert Row("memory", 0.0, None, 1.0, "B").cells == ("memory", "0.00 MB", "", "", "0.00 MB", "")
    assert str(Target("ratio", 4.0, at_least=3)) == "ratio: 4 (at least 3): met"
    assert str(Target("ratio", 1.4, at_most=1.3)) == "ratio: 1.4 (at most 1.3): MISSED"
    assert str(Target("rate", 12.0, unit=" s")) == "rate: 12 s"
    text = markdown(["here"], [row, Target("ratio", 4.0)])
    assert text.startswith("- here\n\n| configuration") and text.endswith("- ratio: 4\n")

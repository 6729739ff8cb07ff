"""Files of a run's folder that are of another form: what is needed is refused in one line, the log is passed over."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cli import TINY, call, contents, output, read_json, refused, results, tiny_quickstart, unfinish
from softtf.cli.quickstart import METHODS
from softtf.recipes import RECIPES
from softtf.runs.folder import RunFolder
from softtf.saving.manifest import Manifest, seal

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
DEEP = '{"a":' * 100_000
NONE = [DEEP, "[" * 100_000, "[]", "3", "null", "", "{", '{"a": NaN}', "\0", "{}{}", '"' + "\\" * 999]
"""No JSON objects, or none that anything here writes."""


def stopped(run: Path, path: Path) -> Path:
    """A run that was stopped when all was learned and nothing summed up."""
    shutil.copytree(run, path)
    for name in ("summary.json", "accuracy.json"):
        (path / name).unlink()
    return path


SCORES = {"correct": [1], "total": [2], "task_correct": [1]}
WRONG_SCORES: list[Any] = [
    *(
        {"oracle": {**SCORES, "correct": value}}
        for value in ([-1], [3], ["1"], [1.0], [True], [1, 1], [], 1, None, {}, [[1]])
    ),
    *({"oracle": {**SCORES, "total": value}} for value in ([0], [-1], [2**60], [2**80], "2")),
    *({"oracle": value} for value in (1, [], None, {"correct": [1]})),
    {"oracle": {**SCORES, "task_correct": [5]}},
    {"oracel": SCORES},
    {"../../x": SCORES},
    {"oracle": SCORES},  # one policy of three
]


def resealed(path: Path, counts: Any) -> str:
    """A file of counts after the first task, with the hashes that a run gives it."""
    return seal({"learner": Manifest.read(path / "learner").after(1).identity, "policies": counts})


@pytest.mark.parametrize("content", [*NONE, *map(json.dumps, WRONG_SCORES)], ids=lambda text: repr(text)[:60])
def test_counts_of_another_form_are_refused(content: str, run: Path, capsys: Capture) -> None:
    path = stopped(run, Path("stopped"))
    with suppress(ValueError, RecursionError):
        content = resealed(path, json.loads(content))
    (path / "accuracy/after-001.json").write_text(content)
    before = contents(path)
    assert "after-00" in refused(capsys, "resume", path)
    assert contents(path) == before


WRONG_SUMMARIES: list[dict[str, Any]] = [
    *({"policies": value} for value in ([], 3, {"oracle": 1}, {"oracle": {"acc": "x"}}, None)),
    {"parameters_per_task": "many"},
    {"train_seconds_from_nothing": None},
    {"method": ["x"]},
    {"policies": {"oracle": {}}, "train_seconds": {}},
]


def test_a_summary_of_another_form_is_refused(finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "quickstart", tiny_quickstart())
    for method in METHODS:
        shutil.copytree(finished, Path("three") / method)
    Path("three/quickstart.json").write_text('{"seed": 0}')
    assert call("resume", "three") == 0
    whole = read_json(finished / "summary.json")
    whole.pop("sha256")  # or the hash alone would tell
    for content in (*(json.dumps(whole | change) for change in WRONG_SUMMARIES), *NONE):
        (Path("three") / METHODS[-1] / "summary.json").write_text(content)
        assert "summary.json" in refused(capsys, "resume", "three")
    for content in ('{"seed": "0"}', '{"seed": 1e9}', '{"seed": 1, "recipe": []}', '{"seed": 1, "recipe": "x"}', *NONE):
        Path("three/quickstart.json").write_text(content)
        assert "quickstart.json cannot be read" in refused(capsys, "resume", "three")


ODD_LINES = [
    *(
        "",
        "3",
        "[]",
        "{}",
        "null",
        '"event"',
        '{"event": 1}',
        '{"event": []}',
        '{"event": "epoch"}',
        DEEP,
        "[" * 99_999,
    ),
    *('{"event": "epoch", "task": "1", "epoch": 1, "seconds": 1}', '{"event": "evaluation", "task": 0, "seconds": 3}'),
    *('{"event": "epoch", "task": 0, "epoch": 1, "seconds": NaN}', '{"event": "later", "task": 0}', "\0", "\\xff"),
    '{"event": "epoch", "task": 0, "epoch": 1, "seconds": 1, "kept": "x"}',
    '{"event": "evaluation", "task": 0, "seconds": {"oracle": "x"}}',
    '{"event": "epoch", "task": 99999999999999999999, "epoch": 1, "seconds": 1}',
    "x" * 3_000_000,
]


def test_odd_lines_of_the_log_are_passed_over_and_that_is_said(run: Path, capsys: Capture) -> None:
    path = stopped(run, Path("stopped"))
    (path / "learner/task-002.json").unlink()
    unfinish(path)
    (path / "accuracy/after-002.json").unlink()
    whole = (path / "events.jsonl").read_text().splitlines()
    between: Callable[[int], list[str]] = lambda i: ODD_LINES[i :: len(whole)]  # noqa: E731
    lines = [line for i, event in enumerate(whole) for line in (*between(i), event)]
    (path / "events.jsonl").write_bytes("\n".join(lines).encode() + b'\n\xff\xfe\n{"event": "epo')
    odd = sum(1 for line in ODD_LINES if line) + 2 + 2  # the longest is read as three
    said = " ".join(output(capsys, "resume", path).split())
    assert f"events.jsonl: lines that cannot be read are left out: {odd}" in said
    assert results(path) == results(run)
    kinds = [(e["event"], e["task"]) for e in RunFolder(path).logged()]
    assert kinds == [(e["event"], e["task"]) for e in RunFolder(run).logged()]
    assert "cannot be read" not in output(capsys, "resume", path), "it was said once"


@pytest.mark.parametrize("content", NONE, ids=lambda text: repr(text)[:20])
def test_what_is_only_written_is_not_read(content: str, run: Path, capsys: Capture) -> None:
    shutil.copytree(run, "copy")
    Path("copy/environment.json").write_text(content)
    assert call("evaluate", "copy") == 0 and call("resume", "copy") == 0


@pytest.mark.parametrize("content", NONE, ids=lambda text: repr(text)[:20])
@pytest.mark.parametrize("name", ["learner.json", "task-001.json"])
def test_a_learners_json_of_another_form_is_refused(name: str, content: str, run: Path, capsys: Capture) -> None:
    shutil.copytree(run, "copy")
    (Path("copy/learner") / name).write_text(content)
    for command in (("predict", "copy", "x.png"), ("evaluate", "copy"), ("resume", "copy")):
        assert name in refused(capsys, *command)


def test_a_cache_that_a_run_names_is_not_used_unless_it_is_given(capsys: Capture) -> None:
    assert call(*TINY, "--output", "new", "--feature-cache", "theirs") == 0
    shutil.rmtree("theirs")
    note = "the run's feature cache theirs is used only if you give it with --feature-cache"
    for command in ("evaluate", "resume"):
        assert note in " ".join(output(capsys, command, "new").split()) and not Path("theirs").exists()
    assert note not in " ".join(output(capsys, "evaluate", "new", "--feature-cache", "theirs").split())
    assert list(Path("theirs").glob("*.safetensors"))

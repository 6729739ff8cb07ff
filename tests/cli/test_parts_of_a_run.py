"""A run's settings, learner and counts belong together: what is changed, or another's, is refused before training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import TINY, call, contents, read_json, refused, results, unfinish
from softtf.saving.manifest import Manifest, unsealed

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
SECOND = (
    "learner/task-002.json",
    "learner/task-002.safetensors",
    "learner/shared-002.safetensors",
    "checkpoint.safetensors",
)


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that differs in its seed."""
    path = tmp_path_factory.mktemp("runs") / "another"
    assert call(*TINY, "--seed", "5", "--output", path) == 0
    return path


def without_second(run: Path, path: Path) -> Path:
    """The run as it was after its first task."""
    shutil.copytree(run, path)
    unfinish(path)
    for name in (*SECOND, "accuracy/after-002.json", "accuracy.json", "summary.json"):
        (path / name).unlink(missing_ok=True)
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def take(path: Path, another: Path, *names: str) -> None:
    for name in names:
        shutil.copyfile(another / name, path / name)


LEARNER = (
    "learner/learner.json",
    "learner/task-001.json",
    "learner/task-001.safetensors",
    "learner/shared-001.safetensors",
)
CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a count": (lambda p, _: edit(p / "accuracy/after-001.json", *another_count(p)), "after-001.json is not the file"),
    "no hash": (lambda p, _: unhash(p / "accuracy/after-001.json"), "after-001.json is not the file"),
    "counts of another run": (lambda p, a: take(p, a, "accuracy/after-001.json"), "after-001.json is of another run"),
    "another learner": (lambda p, a: take(p, a, *LEARNER), "says seed: 0, but the learner beside it was begun with 5"),
    "another learner's task": (lambda p, a: take(p, a, *LEARNER[1:]), "after-001.json is of another run"),
    "all but the counts": (
        lambda p, a: take(p, a, "config.yaml", "settings.json", *LEARNER),
        "after-001.json is of another run",
    ),
    "another seed": (lambda p, _: edit(p / "config.yaml", "\nseed: 0", "\nseed: 1"), "says seed: 1, but"),
    "other epochs": (lambda p, _: edit(p / "config.yaml", "epochs: 1", "epochs: 2"), "says train.epochs: 2, but"),
    "another method": (lambda p, _: edit(p / "config.yaml", "method: ", "method: x"), "says method: 'x"),
    "another recipe": (lambda p, _: edit(p / "config.yaml", "recipe: ", "recipe: x"), "says recipe: 'x"),
    "another way to score": (lambda p, _: edit(p / "config.yaml", "shuffle: false", "shuffle: true"), "shuffle: True"),
    "another layer": (
        lambda p, _: edit(p / "config.yaml", "e_layers: 4-6", "e_layers: 4-5"),
        "learner.e_layers: '4-5'",
    ),
}


def another_count(path: Path) -> tuple[str, str]:
    """The first policy's counts in the file, and others."""
    text = (path / "accuracy/after-001.json").read_text()
    old = text[text.index('"correct"') : text.index("]")]
    digit = next(c for c in old if c.isdigit())
    start = text.index(old)
    return text[start - 40 : start + len(old)], text[start - 40 : start] + old.replace(
        digit, str((int(digit) + 1) % 10), 1
    )


def unhash(file: Path) -> None:
    content = read_json(file)
    file.write_text(json.dumps({"learner": content["learner"], "policies": content["policies"]}, indent=2))


@pytest.mark.parametrize("kind", CHANGES)
def test_a_part_that_is_changed_or_anothers_is_refused(kind: str, run: Path, another: Path, capsys: Capture) -> None:
    path, (damage, words) = without_second(run, Path("new")), CHANGES[kind]
    damage(path, another)
    before = contents(path)
    assert words in refused(capsys, "resume", path)
    log = {"events.jsonl": b""}  # of which what was undone is swept first
    assert contents(path) | log == before | log


def test_a_finished_run_is_not_published_under_another_name(run: Path, capsys: Capture) -> None:
    path = Path(shutil.copytree(run, "new"))
    edit(path / "config.yaml", "method: ", "method: x")
    before = contents(path)
    assert "says method: 'x" in refused(capsys, "resume", path)
    assert contents(path) == before


def test_what_belongs_to_the_machine_may_differ(run: Path) -> None:
    path = without_second(run, Path("new"))
    edit(path / "config.yaml", "device: cpu", "device: auto")
    assert call("resume", path) == 0
    assert results(path) == results(run)


def test_a_damaged_record_of_the_settings_is_refused_and_may_be_removed(run: Path, capsys: Capture) -> None:
    path = without_second(run, Path("new"))
    edit(path / "settings.json", '"seed": 0', '"seed": 1')
    assert "settings.json is not the file that was saved" in refused(capsys, "resume", path)
    (path / "settings.json").unlink()
    assert call("resume", path) == 0
    assert results(path) == results(run)


def test_without_a_change_the_same_run_goes_on_to_the_same_bytes(run: Path) -> None:
    path = without_second(run, Path("new"))
    assert call("resume", path) == 0
    assert results(path) == results(run)


def test_counts_of_a_task_that_is_learned_anew_are_counted_anew(run: Path) -> None:
    path = without_second(run, Path("new"))
    shutil.copyfile(path / "accuracy/after-001.json", path / "accuracy/after-002.json")
    assert call("resume", path) == 0
    assert results(path) == results(run)


@pytest.mark.parametrize("command", [("evaluate",), ("predict", "no image.png")])
def test_a_learner_that_lost_its_last_task_is_refused(command: tuple[str, ...], run: Path, capsys: Capture) -> None:
    path = Path(shutil.copytree(run, "new"))
    for name in ("manifest.json", "task-002.json"):
        (path / "learner" / name).unlink()
    line = refused(capsys, command[0], path, *command[1:])
    assert "new/learner lacks task-002.json, but new/accuracy/after-002.json counts answers of task 2" in line
    assert call("resume", path) == 0
    assert results(path) == results(run)


def test_counts_name_the_learner_as_it_was_then(run: Path) -> None:
    manifest = Manifest.read(run / "learner")
    for tasks in (1, 2):
        file = run / f"accuracy/after-00{tasks}.json"
        assert unsealed(file.read_bytes(), file)["learner"] == manifest.after(tasks).identity
    assert manifest.after(2).identity == manifest.identity != manifest.after(1).identity


def test_counts_of_softtf_0_1_are_read_as_they_are(run: Path) -> None:
    """Its learners have no hashes of JSON, and its counts none either."""
    shutil.copytree(run, "old")
    unfinish(Path("old"))
    header = Path("old/learner/learner.json")
    content = {k: v for k, v in read_json(header).items() if k not in ("sha256", "manifest")}
    header.write_text(json.dumps({**content, "format": 1}))
    for file in sorted(Path("old/accuracy").glob("after-*.json")):
        file.write_text(json.dumps(read_json(file)["policies"]))
    assert call("resume", "old") == 0
    assert read_json(Path("old/accuracy.json")) == read_json(run / "accuracy.json")

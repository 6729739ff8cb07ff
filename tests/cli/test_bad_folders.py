"""Learners, runs and config files that are not what they should be: refused in one line and left alone."""

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cli import TINY, TINY_IMAGES, call, contents, refused, tiny_quickstart, unfinish
from softtf.recipes import RECIPES
from softtf.saving.manifest import seal
from support.folders import change, read

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]


def _replace(learner: Path, name: str, data: bytes) -> None:
    """Put other bytes in a task's file, and their hash where it belongs."""
    (learner / name).write_bytes(data)
    change(learner / "task-001.json", files=read(learner / "task-001.json")["files"] | {name: sha256(data).hexdigest()})


def _tensors(learner: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    name = "task-001.safetensors"
    tensors = safetensors.torch.load((learner / name).read_bytes())
    first = min(tensors)
    _replace(learner, name, safetensors.torch.save(tensors | {first: change(tensors[first])}))


def _pickle(learner: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, learner / "pickle")
    _replace(learner, "task-001.safetensors", (learner / "pickle").read_bytes())


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def change_a_bit(file: Path) -> None:
    """Turn a digit of the seed into another, as one flipped bit does: 0 into 1."""
    text = file.read_text()
    assert '"seed": 0' in text
    file.write_text(text.replace('"seed": 0', '"seed": 1'))


def _outside(learner: Path) -> None:
    shutil.copy(learner / "task-001.safetensors", learner.parent / "task-001.safetensors")
    files = read(learner / "manifest.json")["files"]
    files["task-001.safetensors"]["file"] = "../task-001.safetensors"
    (learner / "manifest.json").write_text(seal({"format": 1, "files": files}))


DAMAGE: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no-header": (lambda f: (f / "learner.json").unlink(), ["learner.json", "missing"]),
    "broken-header": (lambda f: _cut(f / "learner.json"), ["learner.json", "SHA-256"]),
    "newer-format": (lambda f: change(f / "learner.json", format=9), ["learner.json", "format"]),
    "no-last-task": (lambda f: (f / "task-002.json").unlink(), ["task-002.json"]),
    "no-first-task": (lambda f: (f / "task-001.json").unlink(), ["task-001.json"]),
    "no-tensors": (lambda f: (f / "task-001.safetensors").unlink(), ["task-001.safetensors", "No such file"]),
    "no-shared": (lambda f: (f / "shared-002.safetensors").unlink(), ["shared-002.safetensors", "No such file"]),
    "broken-task": (lambda f: _cut(f / "task-002.json"), ["task-002.json", "SHA-256"]),
    "no-classes": (lambda f: change(f / "task-001.json", classes=None), ["task-001.json", "not a task"]),
    "a-bit": (lambda f: change_a_bit(f / "learner.json"), ["learner.json", "SHA-256"]),
    "broken-manifest": (lambda f: _cut(f / "manifest.json"), ["manifest.json", "cannot be read"]),
    "shape": (lambda f: _tensors(f, lambda t: t[:-1]), ["task-001.safetensors", "shape"]),
    "nan": (lambda f: _tensors(f, lambda t: t * float("nan")), ["task-001.safetensors", "NaN"]),
    "truncated": (lambda f: _cut(f / "task-001.safetensors"), ["task-001.safetensors", "SHA-256"]),
    "hash": (lambda f: _flip(f / "task-002.safetensors"), ["task-002.safetensors", "SHA-256"]),
    "shared-hash": (lambda f: _flip(f / "shared-002.safetensors"), ["shared-002.safetensors", "SHA-256"]),
    "backbone": (
        lambda f: change(f / "learner.json", backbone_sha256="0" * 64),
        ["other weights", "000000000000", "random:test_vit"],
    ),
    "backbone-name": (
        lambda f: change(
            f / "learner.json", backbone=read(f / "learner.json")["backbone"] | {"name": "random:test_vit2"}
        ),
        ["other weights", "random:test_vit2"],
    ),
    "outside": (_outside, ["../task-001.safetensors"]),
    "pickle": (_pickle, ["task-001.safetensors", "pickle"]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_learner_is_refused(damage: str, run: Path, images: Path, capsys: Capture) -> None:
    shutil.copytree(run, "damaged")
    harm, parts = DAMAGE[damage]
    harm(Path("damaged/learner"))
    before = contents(Path("damaged"))
    for command in (("predict", "damaged", images / "test"), ("evaluate", "damaged")):
        message = refused(capsys, *command)
        assert [part for part in parts if part not in message] == [], command
        assert contents(Path("damaged")) == before, command


def test_a_run_is_never_overwritten(run: Path, capsys: Capture) -> None:
    message = refused(capsys, *TINY, "--output", run)
    assert str(run) in message and "exists" in message and f"softtf resume {run}" in message
    message = refused(capsys, "run", "--config", run / "config.yaml", "--output", run)
    assert str(run) in message and "exists" in message


def test_quickstart_starts_in_a_folder_of_its_own(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "quickstart", tiny_quickstart())
    Path("folder").mkdir()
    Path("folder/file").write_text("mine")
    message = refused(capsys, "quickstart", "--output", "folder")
    assert "folder" in message and "exists" in message
    assert contents(Path()) == {"folder/file": b"mine"}


def test_an_output_that_is_no_run_is_not_touched(capsys: Capture) -> None:
    Path("file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/file").write_text("mine")
    for path in ("file", "folder", "file/below"):
        message = refused(capsys, *TINY, "--output", path)
        assert path in message and "resume" not in message
    assert contents(Path()) == {"file": b"mine", "folder/file": b"mine"}


@pytest.mark.parametrize("command", ["predict", "evaluate", "resume"])
def test_a_folder_that_is_no_run(command: str, images: Path, capsys: Capture) -> None:
    Path("folder").mkdir()
    Path("file").write_text("mine")
    for path in ("folder", "file", "missing"):
        message = refused(capsys, command, path, *([images / "test"] if command == "predict" else []))
        assert path in message
    assert contents(Path()) == {"file": b"mine"}


def test_a_broken_config_in_a_run(run: Path, capsys: Capture) -> None:
    shutil.copytree(run, "copy")
    for data in (b"\xff\xfe\x00binary", b"stream: [", b"seed: x\n", b""):
        Path("copy/config.yaml").write_bytes(data)
        for command in ("evaluate", "resume"):
            assert "copy/config.yaml" in refused(capsys, command, "copy")


def test_predict_and_evaluate_before_learning(run: Path, images: Path, capsys: Capture) -> None:
    Path("new/learner").mkdir(parents=True)
    for name in ("config.yaml", "environment.json", "learner/learner.json"):
        shutil.copy(run / name, Path("new") / name)
    unfinish(Path("new"))
    before = contents(Path("new"))
    assert "softtf resume new" in refused(capsys, "predict", "new", images / "test")
    assert "no finished task" in refused(capsys, "evaluate", "new")
    assert contents(Path("new")) == before
    for name in ("environment.json", "learner/learner.json"):  # stopped in the first moments
        Path("new", name).unlink()
    before = contents(Path("new"))
    assert "new" in refused(capsys, "predict", "new", images / "test")
    assert "no finished task" in refused(capsys, "evaluate", "new")
    assert contents(Path("new")) == before, "evaluate writes nothing"


def test_data_that_changed_since_the_run(images: Path, capsys: Capture) -> None:
    shutil.copytree(images, "data")
    assert call(*TINY_IMAGES, "--stream.source", "data", "--output", "new") == 0
    before = contents(Path("new"))
    for split in ("train", "test"):
        Path("data", split, "ant").rename(Path("data", split, "asp"))
    for command in ("resume", "evaluate"):
        assert "data have changed" in refused(capsys, command, "new")
    assert contents(Path("new")) == before


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda text: "stream: [1, 2", ["not valid YAML", "line"]),
        (lambda text: "just words", ["must be settings"]),
        (lambda text: "", ["must be settings"]),
        (lambda text: text + "sead: 3\n", ["'sead'", "'seed'"]),
        (lambda text: text + "seed: 3\n", ["'seed'", "twice"]),
        (lambda text: text.replace("epochs:", "epoch:"), ["train", "'epoch'", "'epochs'"]),
        (lambda text: text.replace("kind: dual-prompt", "kind: dual-promt"), ["'dual-promt'", "'dual-prompt'"]),
        (lambda text: text.replace("kind: soft-mask", "kind: softmask"), ["adapt", "'softmask'", "'soft-mask'"]),
        (lambda text: text.replace("  kind: dual-prompt\n", ""), ["learner.kind is missing", "dual-prompt"]),
        (lambda text: text.replace("seed: 0\n", "seed: zero\n"), ["seed", "an integer", "'zero'"]),
        (lambda text: text.replace("epochs: 1", "epochs: true"), ["train.epochs", "an integer", "True"]),
        (lambda text: text.replace("epochs: 1", "epochs: 0"), ["epochs", "at least 1", "0"]),
        (lambda text: text.replace("device: cpu", "device: null"), ["device", "a string", "null"]),
        (lambda text: text.replace("precision: float32", "precision: float16"), ["precision", "'float16'"]),
        (lambda text: text.replace("policies: []", "policies: oracle"), ["evaluate.policies", "a list"]),
        (lambda text: text.replace("policies: []", "policies: [orcale]"), ["'orcale'", "'oracle'"]),
    ],
)
def test_config_files_with_a_mistake(
    change: Callable[[str], str], parts: list[str], run: Path, capsys: Capture
) -> None:
    text = (run / "config.yaml").read_text()
    assert change(text) != text
    Path("mine.yaml").write_text(change(text))
    message = refused(capsys, "run", "--config", "mine.yaml", "--output", "new")
    assert [part for part in ["mine.yaml", *parts] if part not in message] == []
    assert not Path("new").exists()


def test_config_files_that_cannot_be_read(capsys: Capture) -> None:
    Path("folder").mkdir()
    Path("binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "folder", "binary"):
        message = refused(capsys, "run", "--config", name, "--output", "new")
        assert name in message and "cannot be read" in message
    assert not Path("new").exists()

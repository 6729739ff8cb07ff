"""A folder on disk is a whole learner, or one clear error says what is wrong with it."""

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from softtf.adaptations import Adapter
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import FT, SLM, DERpp, DualPrompt, LearnerSpec, RanPAC
from softtf.saving.learner import save_task
from softtf.saving.loading import as_after_each_task, load_learner
from softtf.saving.manifest import seal
from support.folders import change, load, read, replace_tensors
from support.tiny import assert_same, snapshot, task_data, tiny_backbone, training_of

ADAPTED = DualPrompt((1,), 2, (3,), 2, adapt=Adapter((2,), 2))


def rename_file(folder: Path, name: object) -> None:
    files = read(folder / "task-002.json")["files"]
    files["shared-002.safetensors"] = files.pop("task-002.safetensors")
    change(folder / "task-002.json", files={name: "0" * 64, "task-002.safetensors": "0" * 64})


def repack(folder: Path, name: str, dtype: torch.dtype) -> None:
    """Give task 2's tensors of that name another type."""
    replace_tensors(folder, lambda t: t.update({k: v.to(dtype) for k, v in t.items() if k.endswith(name)}))


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def write_with_hash(folder: Path, data: bytes) -> None:
    """Give task 2 other bytes for tensors, and their hash."""
    (folder / TASK).write_bytes(data)
    files = read(folder / "task-002.json")["files"]
    change(folder / "task-002.json", files=files | {TASK: hashlib.sha256(data).hexdigest()})


def as_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"head.weight": [1.0]}))


def as_torch_pickle(path: Path) -> None:
    torch.save({"head.weight": torch.zeros(2)}, path)


TASK = "task-002.safetensors"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no header": (lambda f: (f / "learner.json").unlink(), "learner.json is missing"),
    "header cut off": (lambda f: (f / "learner.json").write_text('{"format": 1, '), "learner.json cannot be read"),
    "header of bytes": (lambda f: (f / "learner.json").write_bytes(b"\xff\xfe\0"), "learner.json cannot be read"),
    "header is a list": (lambda f: (f / "learner.json").write_text("[1]"), "does not hold a JSON object"),
    "newer format": (lambda f: change(f / "learner.json", format=3), "format that this softtf does not know"),
    "no format": (lambda f: change(f / "learner.json", format=None), "format that this softtf does not know"),
    "unknown learner": (
        lambda f: change(f / "learner.json", learner={"kind": "dual-promt"}),
        "did you mean 'dual-prompt'",
    ),
    "unknown setting": (lambda f: change(f / "learner.json", extra=1), "unknown setting 'extra'"),
    "wrong seed": (lambda f: change(f / "learner.json", seed="x"), "learner.json.seed must be an integer"),
    "wrong layer": (
        lambda f: change(f / "learner.json", learner={"kind": "dual-prompt", "e_layers": "9"}),
        "no layer 9",
    ),
    "another learner": (lambda f: change(f / "learner.json", learner={"kind": "linear-head"}), "is not expected here"),
    "other settings": (
        lambda f: change(f / "learner.json", learner=read(f / "learner.json")["learner"] | {"e_length": 9}),
        "shape",
    ),
    "tensors missing": (lambda f: (f / TASK).unlink(), f"could not read .*{TASK}"),
    "tensors cut off": (
        lambda f: (f / TASK).write_bytes((f / TASK).read_bytes()[:-9]),
        "not the file that was saved: SHA-256",
    ),
    "tensors empty": (lambda f: (f / TASK).write_bytes(b""), "not the file that was saved: SHA-256"),
    "no tensors": (lambda f: write_with_hash(f, b""), "truncated or not a safetensors"),
    "half of them": (lambda f: write_with_hash(f, (f / TASK).read_bytes()[:-9]), "truncated or not a safetensors"),
    "a byte changed": (lambda f: flip_a_byte(f / TASK), "not the file that was saved: SHA-256"),
    "shared changed": (lambda f: flip_a_byte(f / "shared-003.safetensors"), "not the file that was saved: SHA-256"),
    "a pickle": (lambda f: as_pickle(f / TASK), "is a pickle; softtf never unpickles"),
    "a torch pickle": (lambda f: as_torch_pickle(f / TASK), "is a pickle; softtf never unpickles"),
    "wrong shape": (
        lambda f: replace_tensors(f, lambda t: t.update({"head.weight": torch.zeros(2, 31)})),
        r"'head.weight' has shape \[2, 31\], expected \[2, 32\]",
    ),
    "tensor missing": (lambda f: replace_tensors(f, lambda t: t.pop("task_keys.key")), "'task_keys.key' is missing"),
    "tensor extra": (lambda f: replace_tensors(f, lambda t: t.update({"x": torch.zeros(1)})), "'x' is not expected"),
    "NaN": (lambda f: replace_tensors(f, lambda t: t["head.bias"].fill_(float("nan"))), "NaN"),
    "codes in float32": (
        lambda f: repack(f, "_qkv", torch.float32),
        "_qkv' has type torch.float32, expected torch.int8",
    ),
    "codes in int64": (lambda f: repack(f, "_proj", torch.int64), "_proj' has type torch.int64, expected torch.int8"),
    "whole steps": (lambda f: repack(f, "_steps", torch.int8), "_steps' has type torch.int8, expected torch.float32"),
    "steps missing": (
        lambda f: replace_tensors(f, lambda t: t.pop("SoftMasks.layer04_qkv_steps")),
        "'SoftMasks.layer04_qkv_steps' is missing",
    ),
    "shared of another shape": (
        lambda f: replace_tensors(
            f, lambda t: t.update({"GeneralPrefix.prompts.layer01_prefix": torch.zeros(2, 1, 32)}), "shared-003"
        ),
        "layer01_prefix' has shape",
    ),
    "name with ..": (lambda f: rename_file(f, "../outside.safetensors"), "not the name of a file"),
    "absolute name": (lambda f: rename_file(f, "/etc/passwd"), "not the name of a file"),
    "middle task missing": (lambda f: (f / "task-002.json").unlink(), "lacks task-002.json but has task-003.json"),
    "middle task gone": (
        lambda f: [p.unlink() for p in f.glob("*-002.*")],
        "lacks task-002.json but has task-003.json",
    ),
    "no json for the last": (lambda f: (f / "task-003.json").unlink(), "no task-003.json beside it"),
    "task json cut off": (lambda f: (f / "task-002.json").write_text("{"), "task-002.json cannot be read"),
    "task without classes": (
        lambda f: (f / "task-002.json").write_text(seal({"name": "x", "files": {}})),
        "not a task of a softtf learner",
    ),
    "task without files": (lambda f: change(f / "task-002.json", files={}), "not a task of a softtf learner"),
    "files are null": (lambda f: change(f / "task-002.json", files=None), "not a task of a softtf learner"),
    "files are a list": (lambda f: change(f / "task-002.json", files=[TASK]), "not a task of a softtf learner"),
    "classes are null": (lambda f: change(f / "task-002.json", classes=None), "not a task of a softtf learner"),
    "too many classes": (lambda f: change(f / "task-002.json", classes=[91, 92, 93], examples=None), "shape"),
    "examples of other classes": (lambda f: change(f / "task-002.json", examples=[1]), "from how much, is wrong"),
    "examples that are none": (lambda f: change(f / "task-002.json", examples="many"), "from how much, is wrong"),
    "a date that is none": (lambda f: change(f / "task-002.json", learned=3), "when it was learned"),
    "classes of task 1": (lambda f: change(f / "task-002.json", classes=["a", "x"]), "'a'"),
    "a label that is none": (lambda f: change(f / "task-002.json", classes=[{"x": 1}, 2]), "not a saved label"),
    "last shared missing": (lambda f: (f / "shared-003.safetensors").unlink(), "could not read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_clear_line(kind: str, saved: Path, tmp_path: Path) -> None:
    damage, words = DAMAGE[kind]
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    load(folder)
    damage(folder)
    for limit in (None, 0):
        with pytest.raises(UserError, match=words) as caught:
            load(folder, memory_limit=limit)
        message = str(caught.value)
        assert "\n" not in message and len(message) < 600


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learner.json is missing"):
        load(tmp_path / "nowhere")


def test_another_backbone_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="learned on other weights of 'tiny'.*give the backbone"):
        load(saved, backbone=tiny_backbone(seed=1))
    with pytest.raises(UserError, match="learned on other weights|no layer"):
        load(saved, backbone=tiny_backbone(depth=3))
    with pytest.raises(UserError, match="unknown backbone 'tiny'"):
        load(saved, backbone=None)


@pytest.mark.parametrize("tasks", [4, -1])
def test_more_tasks_than_there_are_is_refused(saved: Path, tasks: int) -> None:
    with pytest.raises(UserError, match="holds 3 tasks"):
        load(saved, tasks=tasks)


def test_a_link_that_leads_out_of_the_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    shutil.move(folder / TASK, tmp_path / TASK)
    (folder / TASK).symlink_to(tmp_path / TASK)
    with pytest.raises(UserError, match="leads out"):
        load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [FT(), DERpp(exemplars=9), SLM(groups=4), RanPAC(9), ADAPTED], ids=lambda s: s.kind)
def test_a_run_is_gone_through_task_by_task_and_each_tasks_own_file_is_read_once(
    spec: LearnerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ContinualClassifier(tiny_backbone(), spec, training_of(spec), device="cpu", seed=3)
    model.header.write(tmp_path)
    for task in range(3):
        model.learn(task_data(task), progress=False)
        save_task(tmp_path, model.learner, model.classes, task)
    whole = [load_learner(tmp_path, lambda _: tiny_backbone(), tasks)[1] for tasks in (1, 2, 3)]
    header, learner, _ = load_learner(tmp_path, lambda _: tiny_backbone())
    monkeypatch.setattr("softtf.saving.loading._load_task", lambda *_: pytest.fail("it was read again"))
    for tasks, found in enumerate(as_after_each_task(tmp_path, header, learner)):
        assert_same(snapshot(found), snapshot(whole[tasks]))
        assert_same(found.shared_state_dict(), whole[tasks].shared_state_dict())
    assert tasks == 2

"""A folder on disk is a whole learner, or one clear error says what is wrong with it."""

import errno
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contracts.tiny import TRAIN, assert_same, classifier, pictures, snapshot, task_data, tiny_backbone, training_of
from softtf.adaptations import Adapter, LoRA, Projection
from softtf.classifier import ContinualClassifier
from softtf.config.tree import from_dict
from softtf.errors import UserError
from softtf.learners import FT, L2P, SLM, CLIPPrompt, DERpp, DualPrompt, LearnerSpec, LinearHead, RanPAC
from softtf.saving.learner import as_after_each_task, load_learner, save_task
from softtf.saving.manifest import Manifest, count_tasks, seal, task_json
from softtf.saving.shares import task_tensors_of
from softtf.training.config import TrainConfig
from support.folders import change, load, read, replace_tensors

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


def test_saving_into_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    model = classifier(LinearHead(), 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all I have")
    (tmp_path / "file").write_text("all I have")
    for target in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(UserError, match="not empty"):
            model.save_pretrained(target)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "deep" / "er"):
        model.save_pretrained(target)
        assert load(target).labels == model.labels
    with pytest.raises(UserError, match="not empty"):
        model.save_pretrained(tmp_path / "empty")


def test_a_label_that_cannot_be_saved_is_refused_before_it_is_learned(tmp_path: Path) -> None:
    model = ContinualClassifier(tiny_backbone(), LinearHead(), TRAIN, device="cpu")
    with pytest.raises(UserError, match="cannot save the label"):
        model.learn((pictures(4), [frozenset({1}), "x"] * 2), progress=False)
    model.learn((pictures(4), ["y", "x"] * 2), progress=False)
    model.save_pretrained(tmp_path / "new")
    assert load(tmp_path / "new").labels == ["x", "y"]


def test_nothing_in_the_folder_is_a_pickle_or_the_backbone(saved: Path) -> None:
    assert {p.suffix for p in saved.iterdir()} == {".json", ".safetensors"}
    size = sum(p.stat().st_size for p in saved.glob("task-*.safetensors"))
    learner = load(saved).learner
    own = sum(v.nbytes for t in range(3) for v in task_tensors_of(learner, t).values())
    assert own <= size < own + 3 * 4096


@pytest.mark.slow
@pytest.mark.parametrize("allowed", range(6))
def test_a_full_disk_leaves_every_finished_task_loadable(
    saved: Path, tmp_path: Path, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes `allowed` more files while the tasks are saved one by one, then is full."""
    model, folder, replace = load(saved), tmp_path / "new", os.replace
    written: list[str] = []

    def full(source: str, target: Path) -> None:
        if len(written) == allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(Path(target).name)
        replace(source, target)

    model.header.write(folder)
    monkeypatch.setattr("os.replace", full)
    done = 0
    with pytest.raises(UserError, match="No space left on device"):
        for task in range(3):
            step = load(saved, tasks=task + 1)
            save_task(folder, step.learner, step.classes, task)
            done += 1
    monkeypatch.undo()
    assert Manifest.read(folder).tasks == done
    assert not list(folder.glob(".*"))
    _, learner, _ = load_learner(folder, lambda _: tiny_backbone(), strict=False)
    assert learner.num_tasks == done
    if done:
        assert_same(snapshot(learner), snapshot(load(saved, tasks=done).learner))
    save_task(folder, *_after(saved, done + 1), done)  # with room again the task is saved over what is left
    assert_same(snapshot(load(folder).learner), snapshot(load(saved, tasks=done + 1).learner))


def _after(saved: Path, tasks: int) -> tuple:
    model = load(saved, tasks=tasks)
    return model.learner, model.classes


def test_a_disk_that_fills_in_save_pretrained_leaves_no_folder_that_loads_as_less(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`save_pretrained`: "nothing half-written is left to load"."""
    model, replace, count = load(saved), os.replace, len(list(saved.glob("task-*"))) + 2
    for allowed in range(count):
        folder, written = tmp_path / str(allowed), []

        def full(source: str, target: Path, allowed: int = allowed, written: list = written) -> None:
            if len(written) == allowed:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(target)
            replace(source, target)

        monkeypatch.setattr("os.replace", full)
        try:
            model.save_pretrained(folder)
        except UserError as error:
            assert "No space left" in str(error)
            monkeypatch.undo()
            with pytest.raises(UserError):
                load(folder)
        else:
            monkeypatch.undo()
            assert load(folder).num_tasks == 3


def test_a_thousand_tasks_and_more_are_counted(tmp_path: Path) -> None:
    names = [task_json(task) for task in range(1001)]
    assert count_tasks(names, tmp_path) == 1001 and count_tasks(names[:-1], tmp_path) == 1000


@pytest.mark.parametrize(
    ("saved", "meant"),
    [
        (
            {"kind": "l2p", "key_weight": 0.1, "projection": {"eps": 0.5, "samples": 768}},
            L2P(projection=Projection(0.5, 768, "ours"), key_eps=None),
        ),
        (
            {"kind": "dual-prompt", "adapt": {"kind": "lora", "rank": 4, "alpha": None}},
            DualPrompt(adapt=LoRA(rank=4, dropout=0.0, init="lora")),
        ),
        ({"kind": "dual-prompt", "adapt": {"kind": "adapter"}}, DualPrompt(adapt=Adapter(init="identity"))),
        ({"kind": "slm", "top_k": 2}, SLM(top_k=2)),
        ({"kind": "clip-prompt", "length": 5}, CLIPPrompt(text_prompts="class", before_norm=False)),
    ],
)
def test_learners_saved_before_published_settings_were_there_mean_what_they_meant(
    saved: dict[str, object], meant: LearnerSpec
) -> None:
    assert from_dict(LearnerSpec, saved) == meant
    assert from_dict(TrainConfig, {"epochs": 3}).of_task(0) == TrainConfig(3, weight_decay=0.0, clip_norm=1.0)


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
    monkeypatch.setattr("softtf.saving.learner._load_task", lambda *_: pytest.fail("it was read again"))
    for tasks, found in enumerate(as_after_each_task(tmp_path, header, learner)):
        assert_same(snapshot(found), snapshot(whole[tasks]))
        assert_same(found.shared_state_dict(), whole[tasks].shared_state_dict())
    assert tasks == 2

"""A folder on disk is a whole learner, or one clear error says what is wrong with it."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.cases import ADAPTATIONS
from contracts.tiny import TRAIN, assert_same, classifier, pictures, snapshot, task_data, tiny_backbone
from softtf.adaptations import BinaryMask, SoftMask, SoftNet, TaskWeights
from softtf.backbones.load import load_backbone
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import DER, L2P, DualPrompt, LinearHead
from softtf.recipes import recipe_named
from softtf.saving import load_learner, save_task, saved_tasks
from softtf.slots import Heads
from softtf.store import load_tensors, save_tensors

SOFT_TF = DualPrompt(e_layers=(3,), adapt=SoftMask((4,)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learner of three tasks, saved after each."""
    folder = tmp_path_factory.mktemp("saved")
    model = ContinualClassifier(tiny_backbone(), SOFT_TF, TRAIN, device="cpu", seed=3)
    model.header.write(folder)
    for task in range(3):
        model.learn(task_data(task), progress=False)
        save_task(folder, model.learner, model.classes, task)
    return folder


def load(folder: Path, **options: object) -> ContinualClassifier:
    options = {"backbone": tiny_backbone()} | options
    return ContinualClassifier.from_pretrained(folder, device="cpu", **options)  # type: ignore[arg-type]


def change(path: Path, **values: object) -> None:
    """Edit a json file as somebody with an editor would."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object], name: str = "task-002") -> None:
    """Change task 2's tensors and give the right hash for them."""
    tensors = load_tensors(folder / f"{name}.safetensors")
    edit(tensors)
    sha256 = save_tensors(folder / f"{name}.safetensors", tensors)
    number = name.split("-")[1]
    files = json.loads((folder / f"task-{number}.json").read_text())["files"]
    change(folder / f"task-{number}.json", files=files | {f"{name}.safetensors": sha256})


def rename_file(folder: Path, name: object) -> None:
    files = json.loads((folder / "task-002.json").read_text())["files"]
    files["shared-002.safetensors"] = files.pop("task-002.safetensors")
    change(folder / "task-002.json", files={name: "0" * 64, "task-002.safetensors": "0" * 64})


def repack(folder: Path, name: str, dtype: torch.dtype) -> None:
    """Give task 2's tensors of that name another type."""
    replace_tensors(folder, lambda t: t.update({k: v.to(dtype) for k, v in t.items() if k.endswith(name)}))


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


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
    "newer format": (lambda f: change(f / "learner.json", format=2), "format that this softtf does not know"),
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
        lambda f: change(
            f / "learner.json", learner=json.loads((f / "learner.json").read_text())["learner"] | {"e_length": 9}
        ),
        "shape",
    ),
    "tensors missing": (lambda f: (f / TASK).unlink(), f"could not read .*{TASK}"),
    "tensors cut off": (
        lambda f: (f / TASK).write_bytes((f / TASK).read_bytes()[:-9]),
        "truncated or not a safetensors",
    ),
    "tensors empty": (lambda f: (f / TASK).write_bytes(b""), "truncated or not a safetensors"),
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
        lambda f: (f / "task-002.json").write_text(json.dumps({"name": "x", "files": {}})),
        "not a task of a softtf learner",
    ),
    "task without files": (lambda f: change(f / "task-002.json", files={}), "not a task of a softtf learner"),
    "files are null": (lambda f: change(f / "task-002.json", files=None), "not a task of a softtf learner"),
    "files are a list": (lambda f: change(f / "task-002.json", files=[TASK]), "not a task of a softtf learner"),
    "classes are null": (lambda f: change(f / "task-002.json", classes=None), "not a task of a softtf learner"),
    "too many classes": (lambda f: change(f / "task-002.json", classes=[91, 92, 93]), "shape"),
    "classes of task 1": (lambda f: change(f / "task-002.json", classes=["a", "x"]), "'a'"),
    "a label that is none": (lambda f: change(f / "task-002.json", classes=[{"x": 1}, 2]), "not a saved label"),
    "last shared missing": (lambda f: (f / "shared-003.safetensors").unlink(), "could not read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_clear_line(kind: str, saved: Path, tmp_path: Path) -> None:
    damage, words = DAMAGE[kind]
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    load(folder)
    damage(folder)
    for masks in ("memory", "disk"):
        with pytest.raises(UserError, match=words) as caught:
            load(folder, masks=masks)
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


def test_a_label_that_cannot_be_saved_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    model = ContinualClassifier(tiny_backbone(), LinearHead(), TRAIN, device="cpu")
    model.learn((pictures(4), [frozenset({1}), "x"] * 2), progress=False)
    with pytest.raises(UserError, match="cannot save the label"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_in_the_folder_is_a_pickle_or_the_backbone(saved: Path) -> None:
    assert {p.suffix for p in saved.iterdir()} == {".json", ".safetensors"}
    size = sum(p.stat().st_size for p in saved.glob("task-*.safetensors"))
    learner = load(saved).learner
    own = sum(v.nbytes for t in range(3) for v in learner.task_state_dict(t).values())
    assert own <= size < own + 3 * 4096


def in_float32(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Change a folder into one that an earlier version saved: all in float32; return each task's tensors."""
    saved = []
    for number in (1, 2, 3):

        def unpack(state: dict[str, torch.Tensor]) -> None:
            for key in [k for k in state if f"{k}_steps" in state]:
                state[key] = 1 + state.pop(f"{key}_steps") * state[key] + 0.001 * torch.randn(state[key].shape)
            for key in [k for k in state if state[k].dtype == torch.float16]:
                state[key] = state[key].float() * 1.0001
            saved.append(dict(state))

        replace_tensors(folder, unpack, f"task-{number:03d}")
    spec = json.loads((folder / "learner.json").read_text())["learner"]
    del spec["adapt"]["store"]
    change(folder / "learner.json", learner=spec)
    return saved


@pytest.mark.parametrize("masks", ["memory", "disk"])
def test_masks_that_an_earlier_version_saved_in_float32_stay_as_they_are(
    saved: Path, tmp_path: Path, masks: str
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(saved, folder)
    old = in_float32(folder)
    model = load(folder, masks=masks, train=TRAIN)
    for task in range(3):
        assert_same(model.learner.task_state_dict(task), old[task])
    model.learn((pictures(4), [91, 92, 91, 92]), progress=False)
    model.save_pretrained(tmp_path / "new")
    again = load(tmp_path / "new", masks=masks)
    for task in range(3):
        assert_same(again.learner.task_state_dict(task), old[task])
    new = again.learner.task_state_dict(3)
    assert new["SoftMasks.layer04_qkv"].dtype == torch.int8 and new["head.weight"].dtype == torch.float16
    assert torch.equal(again.predict_proba(pictures(5)), model.predict_proba(pictures(5)))


# --- What stands beside the masks ---


def small_parts(model: ContinualClassifier) -> set[torch.dtype]:
    """In which types the finished tasks' heads and E-prompts are kept."""
    modules = [slots for name, slots in model.learner.slot_modules().items() if name in ("head", "ExpertPrefix")]
    return {v.dtype for slots in modules for t in range(model.num_tasks) for v in slots.task_state_dict(t).values()}


@pytest.mark.parametrize(
    ("spec", "dtype"),
    [
        (SOFT_TF, torch.float16),
        (DualPrompt(e_layers=(3,), adapt=SoftNet((4,))), torch.float16),
        (L2P(adapt=SoftMask((4,))), torch.float16),
        (DualPrompt(e_layers=(3,), adapt=SoftMask((4,), store="float32")), torch.float32),
        (DualPrompt(e_layers=(3,), adapt=BinaryMask((4,))), torch.float32),
        (DualPrompt(e_layers=(3,)), torch.float32),
        (DER(extractor=TaskWeights((4,))), torch.float32),  # its later tasks go on training the heads of earlier ones
        (LinearHead(), torch.float32),
    ],
)
def test_heads_and_e_prompts_are_halved_beside_bytes_only(spec: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    model = classifier(spec, 2)
    assert small_parts(model) == {dtype}
    model.save_pretrained(tmp_path / "new")
    again = load(tmp_path / "new")
    assert small_parts(again) == {dtype}
    assert torch.equal(again.predict_proba(pictures(9)), model.predict_proba(pictures(9)))
    model.learner.begin_task(2)
    assert {p.dtype for p in model.learner.trained_parameters().values()} <= {torch.float32, torch.float64}


def test_halving_moves_logits_by_no_more_than_the_weights_bound() -> None:
    """|w - w'| <= 2^-11 |w| for every weight, so that a logit moves by at most 2^-11 sum |w x|."""
    heads = Heads(32)
    heads.halved = True
    heads.add_task(5, torch.Generator().manual_seed(0))
    x, weight = torch.randn(9, 32, dtype=torch.float64), heads.value(0, "weight").detach().double()
    before = heads(x, range(1)).detach()
    heads.freeze()
    bound = 2.0**-11 * (x.abs() @ weight.abs().T) + 2.0**-25 * x.abs().sum(1, keepdim=True)
    moved = (heads(x, range(1)) - before).abs()
    assert (moved <= bound).all() and moved.any()


@pytest.mark.parametrize("method", ["dual-prompt+soft-tf", "l2p+soft-tf"])
def test_a_task_of_fifty_classes_takes_a_byte_and_a_tenth_for_each_mask_entry(method: str, tmp_path: Path) -> None:
    """On the bundled ViT, whose masks are small beside the rest."""
    config = recipe_named("cifar100-10", method, "mini")
    learner = config.learner.new_learner(load_backbone(config.backbone, torch.device("cpu")), 0)
    learner.begin_task(50)
    learner.end_task()
    save_tensors(tmp_path / "task", learner.task_state_dict(0))
    entries = sum(v.numel() for v in learner.task_state_dict(0).values() if v.dtype == torch.int8)
    assert entries == 3 * (3 + 1) * 192**2
    assert (tmp_path / "task").stat().st_size <= 1.1 * entries


# --- Masks on disk ---


@pytest.mark.parametrize("name", ["mask ff", "LoRA", "adapter", "WSN", "SoftNet", "all kinds, exact"])
def test_masks_left_on_disk_answer_learn_on_and_save_bit_for_bit_as_those_in_memory(tmp_path: Path, name: str) -> None:
    spec = DualPrompt(e_layers=(3,), adapt=ADAPTATIONS[name].spec)
    classifier(spec).save_pretrained(tmp_path / "first")
    models = [load(tmp_path / "first", masks=place, train=TRAIN) for place in ("memory", "disk")]
    for _ in range(2):
        for name in models[0].learner.task_inferences:
            ours, theirs = (m.predict_proba(pictures(9, 2), inference=name) for m in models)
            assert torch.equal(ours, theirs)
        given = [torch.stack([m.predict_proba(pictures(9, 2), task=t) for t in range(3)]) for m in models]
        assert torch.equal(*given)
        for model in models:
            model.learn((pictures(6), [f"{model.num_tasks}, {i % 2}" for i in range(6)]), progress=False)
        assert_same(snapshot(models[0].learner), snapshot(models[1].learner))
    for model, place in zip(models, ("memory", "disk"), strict=True):
        model.save_pretrained(tmp_path / place)
    for file in (tmp_path / "memory").iterdir():
        assert file.read_bytes() == (tmp_path / "disk" / file.name).read_bytes()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what memory is mapped from")
def test_masks_left_on_disk_have_no_memory_but_their_file(saved: Path) -> None:
    model = load(saved, masks="disk", train=TRAIN)
    model.learn((pictures(4), [91, 92, 91, 92]), progress=False)
    model.predict(pictures(3))
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    for task, slot in enumerate(model.learner.slot_modules()["SoftMasks"].slots):
        file = str(saved.resolve() / f"task-{task + 1:03d}.safetensors")
        ranges = [[int(x, 16) for x in line[0].split("-")] for line in lines if line[-1] == file]
        for value in slot.values():
            start, end = value.data_ptr(), value.data_ptr() + value.nbytes
            assert any(a <= start and end <= b for a, b in ranges) == (task < 3)


def test_masks_are_in_memory_or_on_disk(saved: Path) -> None:
    with pytest.raises(UserError, match="unknown place for masks 'disc'; did you mean 'disk'"):
        load(saved, masks="disc")


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
    assert saved_tasks(folder) == done
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
    for number in range(1, 1002):
        (tmp_path / f"task-{number:03d}.json").touch()
    assert saved_tasks(tmp_path) == 1001
    (tmp_path / "task-1001.json").unlink()
    assert saved_tasks(tmp_path) == 1000

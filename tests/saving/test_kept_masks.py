"""What a saved task is kept in: bytes for masks, halves beside them, in memory or left on disk."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.cases import ADAPTATIONS
from softtf.adaptations import BinaryMask, SoftMask, SoftNet, TaskWeights
from softtf.adaptations.slots import Heads
from softtf.backbones.load import load_backbone
from softtf.classifier import ContinualClassifier
from softtf.files.tensors import save_tensors
from softtf.learners import DER, L2P, DualPrompt, LinearHead
from softtf.recipes.recipes import recipe_named
from softtf.saving.shares import split
from support.folders import SOFT_TF, change, load, read, replace_tensors
from support.slow import each
from support.tiny import TRAIN, assert_same, classifier, pictures, snapshot


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
    spec = read(folder / "learner.json")["learner"]
    del spec["storage"]
    change(folder / "learner.json", learner=spec)
    return saved


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 0])
def test_masks_that_an_earlier_version_saved_in_float32_stay_as_they_are(
    saved: Path, tmp_path: Path, limit: int | None
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(saved, folder)
    old = in_float32(folder)
    model = load(folder, memory_limit=limit, train=TRAIN)
    for task in range(3):
        assert_same(model.learner.task_state_dict(task), split(old[task])[0])
    model.learn((pictures(4), [91, 92, 91, 92]), progress=False)
    model.save_pretrained(tmp_path / "new")
    again = load(tmp_path / "new", memory_limit=limit)
    for task in range(3):
        assert_same(again.learner.task_state_dict(task), split(old[task])[0])
    new = again.learner.task_state_dict(3)
    assert new["SoftMasks.layer04_qkv"].dtype == torch.int8 and new["head.weight"].dtype == torch.float16
    assert torch.equal(again.predict_proba(pictures(5)), model.predict_proba(pictures(5)))


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
        (DualPrompt(e_layers=(3,), adapt=SoftMask((4,)), storage="float32"), torch.float32),
        (DualPrompt(e_layers=(3,), adapt=SoftMask((4,)), storage="float16"), torch.float16),
        (DualPrompt(e_layers=(3,), adapt=BinaryMask((4,))), torch.float32),
        (DualPrompt(e_layers=(3,), adapt=BinaryMask((4,)), storage="float16"), torch.float16),
        (DualPrompt(e_layers=(3,)), torch.float32),
        (DualPrompt(e_layers=(3,), storage="float16"), torch.float16),
        (DER(extractor=TaskWeights((4,))), torch.float32),  # its later tasks go on training the heads of earlier ones
        (LinearHead(), torch.float32),
    ],
)
def test_heads_and_e_prompts_are_in_float16_beside_bytes_or_if_asked_for(
    spec: Any, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = classifier(spec, 2)
    assert small_parts(model) == {dtype}
    model.save_pretrained(tmp_path / "new")
    again = load(tmp_path / "new")
    assert small_parts(again) == {dtype}
    assert torch.equal(again.predict_proba(pictures(9)), model.predict_proba(pictures(9)))
    model.learner.open_slots(2)
    assert {p.dtype for p in model.learner.trained_parameters().values()} <= {torch.float32, torch.float64}


def test_halving_moves_logits_by_no_more_than_the_weights_bound() -> None:
    """|w - w'| <= 2^-11 |w| for every weight, so that a logit moves by at most 2^-11 sum |w x|."""
    heads = Heads(32)
    heads.storage = "float16"
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
    learner.open_slots(50)
    learner.close_slots()
    save_tensors(tmp_path / "task", learner.task_state_dict(0))
    entries = sum(v.numel() for v in learner.task_state_dict(0).values() if v.dtype == torch.int8)
    assert entries == 3 * (3 + 1) * 192**2
    assert (tmp_path / "task").stat().st_size <= 1.1 * entries


@each(
    "name",
    ("mask ff", "mask, float16", "LoRA", "adapter", "WSN", "SoftNet", "all kinds, exact"),
    ("mask ff", "all kinds, exact"),
)
def test_masks_left_on_disk_answer_learn_on_and_save_bit_for_bit_as_those_in_memory(tmp_path: Path, name: str) -> None:
    spec = DualPrompt(e_layers=(3,), adapt=ADAPTATIONS[name].spec, storage=ADAPTATIONS[name].storage)
    classifier(spec).save_pretrained(tmp_path / "first")
    models = [load(tmp_path / "first", memory_limit=limit, train=TRAIN) for limit in (None, 0)]
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
    model = load(saved, memory_limit=0, train=TRAIN)
    model.learn((pictures(4), [91, 92, 91, 92]), progress=False)
    model.predict(pictures(3))
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    for task, slot in enumerate(model.learner.slot_modules()["SoftMasks"].slots):
        file = str(saved.resolve() / f"task-{task + 1:03d}.safetensors")
        ranges = [[int(x, 16) for x in line[0].split("-")] for line in lines if line[-1] == file]
        for value in slot.values():
            start, end = value.data_ptr(), value.data_ptr() + value.nbytes
            assert any(a <= start and end <= b for a, b in ranges) == (task < 3)

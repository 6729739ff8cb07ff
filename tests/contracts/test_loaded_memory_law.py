"""What a learner remembers is checked when it is loaded: a stranger may have changed it and put its hash right.

Each tensor of what tasks share, and of what a task added to sums, is dropped, filled, recast and resized, for every
method. The folder is refused in one line, or everything that a learner does goes on: it answers, with the same answers
where the values are the same, it learns another task, and it is saved.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS, LearnerCase
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.files.tensors import load_tensors
from softtf.learners import DualPrompt, HiDePrompt, NoRGa
from softtf.learners.shares import SHARE
from softtf.learners.state import MEMORY
from support.folders import replace_tensors
from support.state import data, fresh, unseen
from support.tiny import backbone_for, training_of
from support.tiny_bert import tiny_bert

ONE_OF_A_KIND = {type(case.spec): name for name, case in reversed(LEARNERS.items())} | {
    DualPrompt: "DualPrompt",
    **dict.fromkeys((HiDePrompt, NoRGa), "HiDe-Prompt + Soft-TF"),  # which remember the same, and it learns fastest
}
NAMES = sorted({*ONE_OF_A_KIND.values(), "linear head, Feature ID", "Soft-TF, offsets", "linear head, MCG", "L2P, PGP"})
REAL, WHOLE = (float("nan"), 3e38), (2**62,)


def changes(value: Tensor) -> Iterator[tuple[str, Tensor | None, bool]]:
    """Yield what is done to a tensor, what becomes of it (None: it is dropped), and whether its values are the same."""
    yield "dropped", None, False
    real = value.is_floating_point()
    for number in (*(REAL if real else WHOLE), 0, -1, 10**6):
        if real or torch.iinfo(value.dtype).min <= number <= torch.iinfo(value.dtype).max:
            yield f"filled with {number}", torch.full_like(value, number), False
            if number in (-1, 2**62, 3e38):
                first = value.clone()
                first.view(-1)[:1] = number
                yield f"begins with {number}", first, False
    if real:
        yield "float64", value.double(), True
        yield "float16", value.clamp(-100, 100).half(), False
        yield "int64", value.long(), False
    else:
        yield "int16", value.clamp(-9, 9).to(torch.int16), False
        yield "float32", value.float(), False
    yield "empty", value.new_zeros(0), False
    yield "with a dimension more", value[None].clone(), False
    if value.dim():
        yield "shorter", value[:-1].clone(), False
        yield "twice", torch.cat([value, value]), False


def remembered(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the memory; of Fisher information, which each parameter has, two."""
    names = [name for name in tensors if name.startswith((MEMORY, SHARE))]
    fisher = [name for name in names if ".fisher." in name]
    return [name for name in names if name not in fisher[2:]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_memory_is_refused_or_everything_goes_on(name: str, tmp_path: Path) -> None:
    case = LEARNERS[name]
    backbone = tiny_bert() if case.texts else backbone_for(case.spec)
    model = ContinualClassifier(backbone, case.spec, training_of(case.spec), device="cpu", seed=3)
    for task in range(2):
        model.learn(data(case, task), progress=False)
    model.save_pretrained(tmp_path / "whole")
    inputs = unseen(case)
    answers, loaded = model.predict_proba(inputs), 0
    files = {path.stem: load_tensors(path) for path in (tmp_path / "whole").glob("*-002.safetensors")}
    names = [(file, key) for file, tensors in sorted(files.items()) for key in remembered(tensors)]
    for file, key in names:
        tensors = files[file]
        for what, value, same in changes(tensors[key]):
            folder = tmp_path / "changed"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(tmp_path / "whole", folder)
            changed = {k: v for k, v in tensors.items() if k != key} | ({} if value is None else {key: value})
            replace_tensors(folder, lambda t, changed=changed: (t.clear(), t.update(changed)), file)  # type: ignore[misc]
            where = f"{key} {what}"
            try:
                again = ContinualClassifier.from_pretrained(folder, backbone=backbone, device="cpu")
            except UserError as error:
                assert "\n" not in str(error) and (MEMORY in str(error) or SHARE in str(error)), where
                assert not same, where
                continue
            assert what != "dropped", where
            loaded += 1
            if same:
                torch.testing.assert_close(again.predict_proba(inputs), answers, msg=where)
            goes_on(again, case, inputs, where, tmp_path / "next", deep=what.startswith("filled"))
    assert loaded or not names


def goes_on(model: ContinualClassifier, case: LearnerCase, inputs: Any, where: str, folder: Path, deep: bool) -> None:
    """Answer in every way, learn a task, answer, and save; each step may be refused in one line."""
    steps = [lambda way=way: model.predict_proba(inputs, inference=way) for way in ("none", *model.learner.inferences)]
    learn = [lambda: model.learn(data(case, 2), progress=False), lambda: model.predict_proba(inputs)]
    save = [lambda: model.save_pretrained(folder, replace=True)]
    for step in steps + learn + save if deep else steps:
        try:
            found = step()
        except UserError as error:
            assert "\n" not in str(error), where
        except Exception as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        else:
            assert not isinstance(found, Tensor) or found.isfinite().all(), where


def test_names_of_other_methods_are_refused(tmp_path: Path) -> None:
    case = LEARNERS["linear head, MCG"]
    model = fresh(case)
    model.learn(data(case, 0), progress=False)
    for name in ("memory.x", "memory.statistics.x.y", "memory.statistics.mcg.x", "memory.statistics.feature-id.gram"):
        model.save_pretrained(tmp_path / name)
        replace_tensors(tmp_path / name, lambda t, name=name: t.update({name: torch.zeros(1)}), "shared-001")  # type: ignore[misc]
        with pytest.raises(UserError, match=f"'{name}' is not expected here"):
            ContinualClassifier.from_pretrained(tmp_path / name, backbone=backbone_for(case.spec), device="cpu")


def test_what_a_method_does_not_declare_is_not_saved(tmp_path: Path) -> None:
    case = LEARNERS["linear head"]
    model = fresh(case)
    model.learn(data(case, 0), progress=False)
    model.learner.memory = {"x": torch.zeros(1)}
    with pytest.raises(UserError, match="LinearHead cannot be saved: 'memory.x' is not expected here"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()

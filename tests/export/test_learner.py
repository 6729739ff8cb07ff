"""A whole learner as graphs: every way to answer that a graph can follow, in both formats, for images and texts."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.conftest import MASKS, TRAIN, small
from softtf import BackboneSpec, ContinualClassifier, DualPrompt, SoftMask, UserError
from softtf.export import learner as exporting
from softtf.export.answer import Exported
from support.tiny import pictures
from support.tiny_bert import save_model, text_task, texts

SOFT_TF = DualPrompt(g_layers="1", e_layers="2", adapt=SoftMask((2,)), feature_id=20)


def compare(model: ContinualClassifier, folder: Path, inputs: Any, inference: str | None = None) -> None:
    files, options = Exported(folder), {"inference": inference} if inference else {}
    probabilities, tasks = files.answer(files.prepared(list(inputs)))
    assert np.abs(probabilities - model.predict_proba(inputs, **options).numpy()).max() < 1e-5
    assert tasks.tolist() == model.predict_task(inputs, **options)


def test_what_was_written_is_told(exported: Path) -> None:
    about = json.loads((exported / "export.json").read_text())
    assert about["largest_difference"] < 1e-5 and about["policy"] == "none" and about["method"] == "block-ridge"
    assert sorted(about["sha256"]) == ["answer.py", "learner.onnx"]
    assert sorted(path.name for path in exported.iterdir()) == ["answer.py", "export.json", "learner.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize(("inference", "form"), [("feature-id:top64:joint", "onnx"), ("prompt-id", "torch")])
def test_masks_and_prompts_are_a_trunk_and_a_top_a_task(inference: str, form: Any, tmp_path: Path) -> None:
    model = small(SOFT_TF, "prompt-id:own")
    model.export(tmp_path / "files", format=form, inference=inference)
    images = pictures(40, 5).numpy()
    compare(model, tmp_path / "files", images, inference)
    ending = exporting.ENDINGS[form]
    names = {"answer.py", "export.json", *(f"{part}.{ending}" for part in ("trunk", "task-001", "task-002"))}
    assert {path.name for path in (tmp_path / "files").iterdir()} == names
    weights = Exported(tmp_path / "files")._trunk(Exported(tmp_path / "files").prepared(list(images)))[-1]
    assert np.allclose(weights.sum(1), 1) and weights.any(0).all()


@pytest.mark.slow
def test_texts_of_any_length(tmp_path: Path) -> None:
    spec = BackboneSpec(str(save_model(tmp_path / "bert")), max_tokens=24)
    model = ContinualClassifier(spec, MASKS, TRAIN, device="cpu", inference="prompt-id:own")
    for task in range(2):
        model.learn(text_task(task), progress=False)
    model.export(tmp_path / "files", format="torch")
    for rows in (slice(1), slice(30)):
        compare(model, tmp_path / "files", [str(text) for text in texts(30, 7)[rows]])


@pytest.mark.parametrize(
    ("inference", "said"),
    [
        ("gradient-id", "reads gradients"),
        ("prompt-id:batch24", "pools samples; export prompt-id"),
        ("oracle", "export one task"),
        ("prompt-idd", "did you mean"),
    ],
)
def test_policies_that_no_graph_can_follow_are_refused(
    inference: str, said: str, masks: ContinualClassifier, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        masks.export(tmp_path / "files", inference=inference)
    assert not list(tmp_path.iterdir())


def test_a_wrong_format_a_full_folder_and_a_missing_package_are_refused(
    ridge: ContinualClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        ridge.export(tmp_path / "files", format="onx")  # type: ignore[arg-type]
    (tmp_path / "mine").write_text("mine")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match="exists and is not empty"):
            ridge.export(place)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"softtf\[export\]"):
        ridge.export(tmp_path / "files")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_files_that_answer_otherwise_are_not_left(
    ridge: ContinualClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is traced here: the graph is another's, as if the tracing had gone wrong."""

    class Wrong:
        def __init__(self, folder: Path) -> None:
            pass

        def answer(self, inputs: np.ndarray) -> tuple[np.ndarray, None]:
            return np.full((len(inputs), 5), 0.2, np.float32), None

    monkeypatch.setattr(exporting, "write_graph", lambda path, *_: path.touch())
    monkeypatch.setattr(exporting.answer, "Exported", Wrong)
    with pytest.raises(UserError, match="answer otherwise than the learner"):
        ridge.export(tmp_path / "files")
    assert not list(tmp_path.iterdir())


def test_what_is_no_graph_is_refused_in_one_line(ridge: ContinualClassifier, tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return tensors[0] * int(tensors[0].sum())

    with pytest.raises(UserError, match="cannot be written as a graph") as caught:
        exporting.write_graph(tmp_path / "odd.pt2", Odd(), {"inputs": torch.ones(3, 2)}, ["y"], False)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

"""What may be given to learn and predict, and what is refused."""

from datetime import date
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import DualPrompt, LinearHead
from support.tiny import SOFT_TF, assert_same, classifier, empty, held_out, learned, pictures, snapshot, tiny_backbone

# --- What is refused --------------------------------------------------------------------------------------------


def test_predicting_before_learning_is_refused() -> None:
    model = empty()
    for ask in (model.predict, model.predict_proba, model.predict_task):
        with pytest.raises(UserError, match="nothing was learned yet"):
            ask(pictures(1))


@pytest.mark.parametrize("nothing", [[], (), np.zeros((0, 16, 16, 3), np.uint8), torch.zeros(0, 3, 16, 16)])
def test_no_inputs_are_refused(nothing: Any) -> None:
    with pytest.raises(UserError, match="no inputs"):
        learned(SOFT_TF).predict(nothing)
    with pytest.raises(UserError, match="no examples"):
        empty().learn((nothing, []), progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": 3}, "no task 3.*tasks 0 to 2"),
        ({"task": -1}, "no task -1"),
        ({"inference": "prompt-idd"}, "did you mean 'prompt-id'"),
        ({"inference": "oracle"}, "needs the task"),
        ({"inference": "none"}, "cannot infer the task by 'none'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        learned(SOFT_TF).predict(pictures(2), **options)


def test_an_inference_that_the_learner_lacks_is_refused() -> None:
    for spec, name in ((LinearHead(), "prompt-id"), (DualPrompt(e_layers=(3,)), "gradient-id-key-prompts")):
        with pytest.raises(UserError, match=f"cannot infer the task by '{name}'"):
            empty(spec, inference=name)
        with pytest.raises(UserError, match=f"cannot infer the task by '{name}'"):
            learned(spec).predict(pictures(1), inference=name)


def test_wrong_settings_of_the_classifier_are_refused() -> None:
    with pytest.raises(UserError, match="repeated_classes"):
        empty(repeated_classes="merge")
    with pytest.raises(UserError, match="did you mean 'vit_tiny_patch8_64'"):
        ContinualClassifier("vit_tiny_patch8_65", LinearHead(), device="cpu")
    with pytest.raises(UserError, match="device 'tpu9'"):
        ContinualClassifier(tiny_backbone(), LinearHead(), device="tpu9")
    for method in ("soft-tf", LinearHead):
        with pytest.raises(UserError, match=r"learner must be a method's settings, such as SoftTF\(\), not "):
            ContinualClassifier(tiny_backbone(), method, device="cpu")


def test_one_test_set_per_task_is_asked_for() -> None:
    with pytest.raises(UserError, match="3 tasks were learned but 2 test sets"):
        learned(SOFT_TF).evaluate(held_out([0, 1]))


def test_a_broken_image_is_named_and_leaves_no_task(tmp_path: Path) -> None:
    model = classifier(SOFT_TF, 1)
    (tmp_path / "bad.png").write_bytes(b"no image")
    before = snapshot(model.learner)
    with pytest.raises(UserError, match=r"bad\.png"):
        model.learn(([tmp_path / "bad.png"] * 2, ["p", "q"]), progress=False)
    assert_same(snapshot(model.learner), before)
    assert model.num_tasks == 1
    with pytest.raises(UserError, match=r"bad\.png"):
        model.predict(tmp_path / "bad.png")


# --- Inputs -----------------------------------------------------------------------------------------------------


def test_paths_images_arrays_and_a_single_one_are_the_same_input(tmp_path: Path) -> None:
    model, images = learned(SOFT_TF), pictures(4, 2)
    expected = model.predict_proba(images)
    files = []
    for i, image in enumerate(images):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(image.numpy()).save(files[-1])
    forms = [files, [str(f) for f in files], [Image.open(f) for f in files], images.numpy(), list(images.numpy())]
    for form in forms:
        assert torch.equal(model.predict_proba(form), expected)
    for one in (files[1], str(files[1]), Image.open(files[1])):
        torch.testing.assert_close(model.predict_proba(one), expected[1:2])


def test_a_hub_data_set_is_an_input_with_and_without_labels() -> None:
    """`Inputs` promises it: "a Hub data set"."""
    images = pictures(4, 2)
    rows = {"image": [Image.fromarray(i.numpy()) for i in images], "label": [0, 1, 0, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    data = datasets.Dataset.from_dict(rows, features=features)
    model = empty(LinearHead())
    model.learn(data, progress=False)
    expected = model.predict(images)
    assert model.predict(data) == expected
    assert model.predict(data.remove_columns("label")) == expected
    assert model.predict(data["image"]) == model.predict((data["image"], data["label"])) == expected


def test_a_file_of_rows_is_learned_and_answered_as_its_rows_are(tmp_path: Path) -> None:
    images = pictures(4, 2)
    rows = {"image": [Image.fromarray(i.numpy()) for i in images], "label": ["p", "q", "p", "q"]}
    data = datasets.Dataset.from_dict(
        rows, features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    )
    data.to_parquet(tmp_path / "birds.parquet")
    for i, image in enumerate(rows["image"]):
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "birds.csv").write_text("image,label\n0.png,p\n1.png,q\n2.png,p\n3.png,q\n")
    for file in (tmp_path / "birds.parquet", str(tmp_path / "birds.parquet"), tmp_path / "birds.csv"):
        model = empty(LinearHead())
        model.learn(file, progress=False)
        assert torch.equal(model.predict_proba(file), model.predict_proba(images))


def test_predict_evaluate_and_features_take_what_learn_takes() -> None:
    """Forms are read in one place, `softtf.streams.forms`; here only that everything reads them there."""
    images = pictures(4, 2)
    labels = ["p", "q", "p", "q"]
    frame = pandas.DataFrame({"image": list(images.numpy()), "label": labels})
    answers = []
    for data in (frame, (images, labels), list(zip(images, labels, strict=True))):
        model = empty(LinearHead())
        model.learn(data, progress=False)
        answers.append((model.predict_proba(data), model.features(data), model.evaluate([data])))
    for found in answers[1:]:
        assert torch.equal(found[0], answers[0][0]) and torch.equal(found[1], answers[0][1])
        assert found[2] == answers[0][2]
    chw = images.permute(0, 3, 1, 2)
    torch.testing.assert_close(model.predict_proba(chw[1]), answers[0][0][1:2])
    for data in (chw[:1], chw[0], [chw[0]], images[0].numpy()):
        assert len(model.predict(data)) == len(model.features(data)) == 1


@pytest.mark.parametrize("label", [None, pandas.NA, pandas.NaT, float("inf"), date(2020, 1, 1), "\udce9"])
def test_labels_that_are_missing_or_cannot_be_saved_are_refused_before_anything_is_learned(label: Any) -> None:
    model = classifier(SOFT_TF, 1)
    before = snapshot(model.learner)
    with pytest.raises(UserError, match="example 3.*(is missing|cannot save the label)"):
        model.learn((pictures(4), ["p", "q", "p", label]), progress=False)
    assert_same(snapshot(model.learner), before)
    assert model.num_tasks == 1 and len(model.labels) == 3

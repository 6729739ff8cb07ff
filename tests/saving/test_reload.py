"""A reloaded classifier is the whole one: every argument of the constructor is saved, or said not to be."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.cases import MASK
from softtf.backbones import BackboneSpec, load_backbone
from softtf.classifier import ContinualClassifier
from softtf.cli.main import main
from softtf.errors import UserError
from softtf.learners import NCM, DualPrompt, LearnerSpec, LinearHead, RanPAC
from softtf.training.config import TrainConfig
from support.folders import as_softtf_0_1_saved_it, change
from support.tiny import TRAIN, assert_same, pictures, snapshot, task_data, task_labels, tiny_backbone, training_of

SOFT_TF = DualPrompt(e_layers=(3,), adapt=MASK)
SAVED: dict[str, Any] = {  # by the constructor's argument, a value that is not its default
    "learner": LinearHead(feature_id=24, mcg=2),
    "train": replace(TRAIN, epochs=2, batch_size=3, schedule="cosine", clip_norm=0.3, augment=False, optimizer="sgd"),
    "seed": 11,
    "repeated_classes": "allow",
    "inference": "prompt-id:batch2",
    "precision": "bfloat16",
}
OTHERWISE = {"backbone", "device", "feature_cache"}  # the first by its name and hash, the others not at all
LEARNERS: dict[str, LearnerSpec] = {
    "Soft-TF": SOFT_TF,
    "linear head": LinearHead(),
    "NCM": NCM(),
    "RanPAC": RanPAC(32),
    "statistics": DualPrompt(e_layers=(3,), adapt=MASK, feature_id=24, mcg=2),
}


def learned(**options: Any) -> ContinualClassifier:
    """A classifier after two tasks."""
    spec = options.get("learner", SOFT_TF)
    options = {"learner": spec, "train": training_of(spec)} | options
    model = ContinualClassifier(tiny_backbone(), device="cpu", **options)
    for task in range(2):
        model.learn(task_data(task), progress=False)
    return model


def reloaded(model: ContinualClassifier, folder: Path, **options: Any) -> ContinualClassifier:
    model.save_pretrained(folder)
    return ContinualClassifier.from_pretrained(folder, backbone=tiny_backbone(), device="cpu", **options)


def assert_equal(again: ContinualClassifier, model: ContinualClassifier) -> None:
    """Same settings and same answers; and both learn a further task to the same bits."""
    for name in ("train_config", "inference", "dtype", "labels", "header"):
        assert getattr(again, name) == getattr(model, name), name
    assert again.classes.allow_repeated == model.classes.allow_repeated
    for images in (pictures(9, 4), pictures(1, 5)):
        assert torch.equal(again.predict_proba(images), model.predict_proba(images))
        assert again.predict(images) == model.predict(images)
        assert again.predict_task(images) == model.predict_task(images)
    for one in (again, model):
        one.learn(task_data(2), progress=False)
    assert_same(snapshot(again.learner), snapshot(model.learner))


def test_every_argument_of_the_constructor_is_thought_of() -> None:
    arguments = inspect.signature(ContinualClassifier).parameters
    assert arguments.keys() == SAVED.keys() | OTHERWISE
    for name, value in SAVED.items():
        assert value != arguments[name].default
    options = inspect.signature(ContinualClassifier.from_pretrained).parameters
    assert options.keys() >= {"train", "repeated_classes", "inference", "precision"} | OTHERWISE
    assert all(options[name].default is None for name in ("train", "repeated_classes", "inference", "precision"))


@pytest.mark.slow
@pytest.mark.parametrize("argument", list(SAVED))
def test_a_value_that_is_not_the_default_comes_back(argument: str, tmp_path: Path) -> None:
    model = learned(**{argument: SAVED[argument]})
    again = reloaded(model, tmp_path / "saved")
    if argument == "repeated_classes":
        again.classes.check(task_labels(0))  # refused by default
    assert_equal(again, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_all_of_them_at_once_for_several_learners(name: str, tmp_path: Path) -> None:
    spec, train = LEARNERS[name], replace(TRAIN, epochs=2, learning_rate=1.6)
    way = {"Soft-TF": "gradient-id:own", "statistics": "mcg:joint"}.get(name, "none")
    options = {"seed": 7, "inference": way, "precision": "bfloat16", "repeated_classes": "allow"}
    model = learned(learner=spec, train=training_of(spec, train), **options)
    again = reloaded(model, tmp_path / "saved")
    assert again.inference.code == way
    assert_equal(again, model)


def test_what_the_constructor_left_open_stays_as_it_was_settled(tmp_path: Path) -> None:
    model = learned(train=None, learner=NCM())
    assert model.train_config == TrainConfig(**NCM.training)
    assert_equal(reloaded(model, tmp_path / "saved"), model)


def test_what_is_given_on_loading_takes_the_place_of_what_was_saved(tmp_path: Path) -> None:
    model = learned(inference="prompt-id", precision="bfloat16")
    other = replace(TRAIN, epochs=5)
    again = reloaded(
        model, tmp_path / "saved", train=other, inference="gradient-id", precision="float32", repeated_classes="allow"
    )
    assert again.train_config == other and again.inference.code == "gradient-id" and again.dtype == torch.float32
    again.learn((pictures(6, 8), [*task_labels(0)] * 2), progress=False)
    third = reloaded(again, tmp_path / "again")  # and is what is saved next
    assert third.header == again.header and third.classes.allow_repeated


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"inference": "feature-id"}, "cannot infer the task by 'feature-id'"),
        ({"inference": "promt-id"}, "did you mean 'prompt-id'"),
        ({"precision": "float16"}, "precision: unknown value 'float16'"),
        ({"train": {"epochs": 3}}, "must be a TrainConfig"),
        ({"repeated_classes": "maybe"}, "repeated_classes: unknown value 'maybe'. Known: allow, refuse"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(option: dict[str, Any], words: str, tmp_path: Path) -> None:
    spec = replace(SOFT_TF, feature_id=0)
    model = learned(learner=spec)
    with pytest.raises(UserError, match=words):
        reloaded(model, tmp_path / "saved", **option)
    with pytest.raises(UserError, match=words):
        ContinualClassifier(tiny_backbone(), spec, device="cpu", **option)


@pytest.mark.slow
def test_shared_labels_cannot_be_refused_afterwards(tmp_path: Path) -> None:
    model = learned(repeated_classes="allow")
    model.learn((pictures(6, 8), [*task_labels(0)] * 2), progress=False)
    with pytest.raises(UserError, match="share labels already"):
        reloaded(model, tmp_path / "saved", repeated_classes="refuse")


def test_settings_of_a_task_are_checked_before_it_is_learned() -> None:
    model = learned()
    with pytest.raises(UserError, match=r"train\.clean_query"):
        learned(learner=LinearHead()).learn(task_data(2), config=replace(TRAIN, clean_query=True), progress=False)
    with pytest.raises(UserError, match="must be a TrainConfig"):
        model.learn(task_data(2), config={"epochs": 3}, progress=False)  # type: ignore[arg-type]
    assert model.num_tasks == 2


@pytest.mark.parametrize("learner", [replace(SOFT_TF, feature_id=0), SOFT_TF, LinearHead()])
def test_a_learner_saved_before_settings_were_still_loads(learner: LearnerSpec, tmp_path: Path) -> None:
    model = learned(learner=learner, inference="oracle")
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    as_softtf_0_1_saved_it(folder)
    header = json.loads((folder / "learner.json").read_text())
    for name in ("train", "inference", "precision"):
        del header[name]
    if learner.feature_id == 0:
        del header["learner"]["feature_id"]  # from before there was Feature ID
    (folder / "learner.json").write_text(json.dumps(header))
    again = ContinualClassifier.from_pretrained(folder, backbone=tiny_backbone(), device="cpu")
    assert again.train_config == TrainConfig(**learner.training) and again.dtype == torch.float32
    usual = {0: "prompt-id", None: "feature-id:top64:joint"} if learner.kind == SOFT_TF.kind else {None: "none"}
    assert again.inference.code == usual[learner.feature_id]
    assert_same(snapshot(again.learner), snapshot(model.learner))


def test_damaged_settings_are_refused_in_one_line(tmp_path: Path) -> None:
    learned().save_pretrained(tmp_path)
    change(tmp_path / "learner.json", precision="float16")
    with pytest.raises(UserError, match=r"learner\.json\.precision.*'float16'"):
        ContinualClassifier.from_pretrained(tmp_path, backbone=tiny_backbone(), device="cpu")


@pytest.mark.slow
def test_numbers_of_numpy_are_the_numbers_they_are(tmp_path: Path) -> None:
    model = learned(seed=np.int64(3), train=replace(TRAIN, learning_rate=np.float64(1.6), epochs=np.int32(2)))
    plain = learned(seed=3, train=replace(TRAIN, learning_rate=1.6, epochs=2))
    assert_same(snapshot(model.learner), snapshot(plain.learner))
    assert_equal(reloaded(model, tmp_path / "saved"), plain)
    with pytest.raises(UserError, match="seed must be an integer, not 1.5"):
        learned(seed=1.5)


@pytest.mark.filterwarnings("ignore:the weights of")
def test_a_backbone_given_as_an_object_comes_back_with_its_settings(tmp_path: Path) -> None:
    """Mean and deviation are in no weight: without the settings the answers would be others, and nobody would know."""
    spec = BackboneSpec("random:test_vit", image_size=32, normalise="unit")
    model = ContinualClassifier(load_backbone(spec), LinearHead(), TRAIN, device="cpu")
    model.learn((pictures(6), ["a", "b"] * 3), progress=False)
    model.save_pretrained(tmp_path / "saved")
    again = ContinualClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.header.backbone == spec
    assert torch.equal(again.predict_proba(pictures(5)), model.predict_proba(pictures(5)))


@pytest.mark.filterwarnings("ignore:the weights of")
def test_a_run_saves_its_training_with_its_learner(tmp_path: Path) -> None:
    tiny = ("--backbone.name", "random:test_vit", "--backbone.image-size", "32", "--stream.num-tasks", "2")
    few = ("--stream.train-per-class", "4", "--stream.test-per-class", "1", "--train.epochs", "1", "--device", "cpu")
    assert main(["run", "quickstart", "--method", "linear-head", *tiny, *few, "--output", str(tmp_path / "run")]) == 0
    model = ContinualClassifier.from_pretrained(tmp_path / "run" / "learner", device="cpu")
    assert model.train_config.epochs == 1 and not model.train_config.augment

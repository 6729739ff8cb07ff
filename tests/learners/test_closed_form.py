"""NCM and RanPAC against slow loops, and what a training without steps is to those around it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from softtf.backbones.feature_store import FeatureStore
from softtf.classifier import ContinualClassifier
from softtf.config.tree import to_dict
from softtf.errors import TrainingError, UserError
from softtf.learners import NCM, LearnerSpec, LinearHead, RanPAC
from softtf.learners.class_table import ClassTable
from softtf.learners.closed_form import ONE_PASS
from softtf.learners.ncm import TEMPERATURE
from softtf.training.closed_form import ClosedFormTraining
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from support.folders import change
from support.tiny import (
    CLASSES,
    TRAIN,
    assert_same,
    classifier,
    exact,
    held_out,
    pictures,
    snapshot,
    task_data,
    task_labels,
    tiny_backbone,
)

SOLVED = (NCM(), RanPAC(32))
both = pytest.mark.parametrize("spec", SOLVED, ids=["ncm", "ranpac"])
PLAIN = TrainConfig(**ONE_PASS)


def solved(spec: LearnerSpec, tasks: int = 3) -> ContinualClassifier:
    return exact(classifier(spec, tasks, train=PLAIN))


def training_features(task: int) -> list[tuple[object, Tensor]]:
    """Label and feature of each training example of a task, made one at a time as training makes them."""
    backbone, examples = tiny_backbone(), task_data(task)
    preparation = replace(backbone.preparation, augment=False)
    found = []
    for example, label in zip(examples, examples.labels, strict=True):
        loaded = preparation.load_train(example, "")[None]
        x = preparation.augment_batch(loaded, "cpu", torch.Generator()).double()
        found.append((label, backbone.pool(backbone.run(backbone.embed(x), 0, backbone.depth))[0]))
    return found


def test_ncm_names_the_class_whose_mean_is_nearest_by_cosine() -> None:
    model = solved(NCM())
    means = {}
    for task in range(3):
        found = training_features(task)
        for label in task_labels(task):
            mine = [feature for other, feature in found if other == label]
            means[label] = sum(mine) / len(mine)
    images = pictures(11, 5)
    for task in (None, 0, 2):
        labels = task_labels(task) if task is not None else tuple(means)
        for image, answer in zip(images, model.predict(images, task=task), strict=True):
            feature = model.features(image)[0]
            cosines = {c: float(torch.cosine_similarity(feature, means[c], dim=0)) for c in labels}
            assert answer == max(cosines, key=lambda c: cosines[c])


def test_ranpac_answers_as_one_regression_on_all_tasks_does() -> None:
    ridge = 5.0
    model = solved(RanPAC(32, ridge, balance=False))
    projection = model.learner.regression.projection.double()
    found = [pair for task in range(3) for pair in training_features(task)]
    h = (torch.stack([feature for _, feature in found]) @ projection).clamp(min=0)
    y = torch.tensor([[float(label == c) for c in model.labels] for label, _ in found], dtype=torch.float64)
    weights = torch.linalg.inv(h.T @ h + ridge * torch.eye(32, dtype=torch.float64)) @ h.T @ y
    images = pictures(7, 5)
    scores = (model.features(images).double() @ projection).clamp(min=0) @ weights
    found_log, wanted = (s - s.mean(1, keepdim=True) for s in (model.predict_proba(images).double().log(), scores))
    temperature = float((wanted * found_log).sum() / found_log.square().sum())
    torch.testing.assert_close(found_log * temperature, wanted, rtol=0, atol=1e-4)


def test_ncms_temperature_makes_probabilities_of_cosines() -> None:
    """As they are, cosines are all alike: of two columns that share a label the sum would beat any third."""
    centres = torch.nn.functional.normalize(torch.randn(5, 32, generator=torch.Generator().manual_seed(0)).double())
    classes = torch.arange(5).repeat_interleave(20)
    noise = torch.randn(100, 32, generator=torch.Generator().manual_seed(1)).double()
    features = centres[classes] + 0.1 * noise
    cosines = torch.nn.functional.normalize(features) @ centres.T
    right = torch.arange(100), classes
    assert float(cosines.softmax(1)[right].max()) < 0.5

    def fitted(rows: slice) -> float:
        learner = NCM().new_learner(tiny_backbone(), 0)
        learner.open_slots(len(classes[rows].unique()))
        learner.fit(features[rows], classes[rows], torch.arange(int(classes[rows].max()) + 1))
        return TEMPERATURE.value(learner.memory)

    assert float((cosines / fitted(slice(None))).softmax(1)[right].mean()) > 0.9
    assert fitted(slice(20)) == TEMPERATURE.default == fitted(slice(None, None, 20))  # one class; one example each


@both
def test_one_pass_is_the_whole_training(spec: LearnerSpec) -> None:
    learner = spec.new_learner(tiny_backbone(), 0)
    training = begin_training(learner, ClassTable(), task_data(0), "first", replace(TRAIN, epochs=7))
    assert isinstance(training, ClosedFormTraining) and not training.finished
    told: list[tuple[int, int]] = []
    report = training.run_epoch(lambda *step: told.append(step))
    assert training.finished and (report.epoch, report.epochs, report.samples) == (1, 1, 12)
    assert told == [(3, 3)] and report.losses and all(isinstance(v, float) for v in report.losses.values())
    training.finish()
    assert not any(p.requires_grad for p in learner.network.heads.slot(0).values()) or spec.kind == "ranpac"


@both
def test_images_are_neither_augmented_nor_run_twice(
    spec: LearnerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone()
    store = FeatureStore(tmp_path, backbone.weights_hash(), print)
    ends = []
    for config in (TRAIN, replace(TRAIN, augment=False), replace(TRAIN, batch_size=100)):
        learner = spec.new_learner(backbone, 0)
        training = begin_training(learner, ClassTable(), task_data(0), "first", config, store)
        training.run_epoch()
        training.finish()
        ends.append(snapshot(learner))
        monkeypatch.setattr("softtf.backbones.features._compute", lambda *_: pytest.fail("they are in the store"))
    for end in ends:
        assert_same(end, ends[0])


@both
def test_features_that_are_not_finite_fail_the_task_and_leave_the_rest(spec: LearnerSpec) -> None:
    model = solved(spec, 1)
    before = snapshot(model.learner)
    norm = model.learner.network.backbone.vit.norm
    kept = norm.bias.data.clone()
    norm.bias.data[3] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        model.learn(task_data(1), progress=False)
    norm.bias.data.copy_(kept)
    assert_same(snapshot(model.learner), before)
    assert model.num_tasks == 1
    model.learn(task_data(1), progress=False)


@both
def test_settings_that_are_not_read_are_refused_wherever_they_can_be_given(spec: LearnerSpec, tmp_path: Path) -> None:
    model, asked = classifier(spec, 1, train=PLAIN), replace(PLAIN, epochs=5, learning_rate=7.0)
    model.save_pretrained(tmp_path)
    before = snapshot(model.learner)
    words = f"^{spec.kind} does not read train.epochs, train.learning_rate; .* It reads train.precision$"
    for give in (
        lambda: ContinualClassifier(tiny_backbone(), spec, asked, device="cpu"),
        lambda: ContinualClassifier.from_pretrained(tmp_path, backbone=tiny_backbone(), train=asked, device="cpu"),
        lambda: model.learn(task_data(1), config=asked, progress=False),
    ):
        with pytest.raises(UserError, match=words):
            give()
    assert_same(snapshot(model.learner), before)
    for train in (None, TrainConfig(precision="float32")):  # whose other settings are the defaults: nobody asked
        assert_same(snapshot(classifier(spec, 1, train=train).learner), before)
    classifier(LinearHead(), 1, train=TRAIN)


@both
def test_a_learner_saved_with_settings_that_are_not_read_still_loads_and_learns(
    spec: LearnerSpec, tmp_path: Path
) -> None:
    """Earlier versions warned of them."""
    model = classifier(spec, 1, train=PLAIN)
    model.save_pretrained(tmp_path)
    train = to_dict(replace(PLAIN, epochs=5))
    change(tmp_path / "learner.json", train=train)
    again = ContinualClassifier.from_pretrained(tmp_path, backbone=tiny_backbone(), device="cpu")
    for one in (model, again):
        one.learn(task_data(1), progress=False)
    assert_same(snapshot(again.learner), snapshot(model.learner))


@pytest.mark.parametrize(
    "settings", [{"projection": 0}, {"projection": 10**6}, {"ridge": 0.0}, {"ridge": -1.0}, {"ridge": float("nan")}]
)
def test_settings_that_cannot_be_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        RanPAC(**settings)


def test_what_ranpac_keeps_of_a_task_has_the_bytes_that_are_written_down() -> None:
    learner = solved(RanPAC(32)).learner
    for task, classes in enumerate(CLASSES):
        size = sum(value.numel() * value.element_size() for value in learner.shares.tensors(task).values())
        small = 4 * 8 * classes + 2 * 4  # counts and labels of columns, counts of labels, the sharpness
        assert size == 4 * 32 * 33 + 8 * 32 * classes + small
    assert not learner.memory


def test_the_oracle_is_no_worse_and_training_images_are_known_again() -> None:
    model = solved(RanPAC(32))
    for scores in (model.evaluate([task_data(t) for t in range(3)]), model.evaluate(held_out(range(3)))):
        free, oracle = scores.values()
        assert oracle["pooled"] >= free["pooled"]
    assert model.evaluate([task_data(t) for t in range(3)])["oracle (task given)"]["pooled"] > 60

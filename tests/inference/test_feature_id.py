"""Feature ID against the obvious loop, beside learners that know nothing of it."""

import math

import pytest
import torch
from torch import Tensor

from softtf import streams
from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference import FeatureID
from softtf.inference import predict as predicting
from softtf.learners import NCM, DualPrompt, Learner, LinearHead, RanPAC
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.linear_head import LinearHeadLearner
from softtf.learners.task_data import TaskData
from softtf.network import SharedPass
from softtf.training.data import begin_training
from support.tiny import CLASSES, TRAIN, classifier, exact, learned, pictures, task_data, tiny_backbone

SOFT_TF = DualPrompt(e_layers=(3,), adapt=SoftMask((3, 4)), feature_id=24)


def slow_scores(learner: Learner, feature: Tensor) -> list[float]:
    """log P(t|x) of one feature, class by class."""
    known = learner.gathered["feature-id"]
    projection = learner.statistics["feature-id"].regression.projection
    h = [max(0.0, float(feature @ projection[:, m].to(feature))) for m in range(projection.shape[1])]
    classes = known["weights"].shape[1]
    scores = [sum(h[m] * float(known["weights"][m, c]) for m in range(len(h))) for c in range(classes)]
    powers = [math.exp(s / float(known["temperature"])) for s in scores]
    shares = [sum(powers[sum(CLASSES[:t]) : sum(CLASSES[: t + 1])]) for t in range(3)]
    return [math.log(share / sum(powers)) for share in shares]


@pytest.mark.parametrize("spec", [SOFT_TF, LinearHead(feature_id=24), NCM(feature_id=24)], ids=["tf", "head", "ncm"])
def test_scores_are_the_log_of_each_tasks_share_of_the_softmax(spec: object) -> None:
    model = learned(spec)
    images = pictures(6, 5)
    loader = predicting.test_loader(streams.unlabelled(images), model.learner.network.backbone, 9)
    shared = SharedPass(model.learner.network, loader.inputs(range(6)))
    with model.learner.computing_in(torch.float64), torch.no_grad():
        found = FeatureID().scores(model.learner, shared)
    for row, feature in zip(found, model.features(images), strict=True):
        assert row.tolist() == pytest.approx(slow_scores(model.learner, feature), abs=1e-6)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(6, dtype=torch.float64))


def test_within_a_group_the_logs_add_up() -> None:
    model = learned(SOFT_TF)
    images = pictures(6, 5)
    alone = [slow_scores(model.learner, feature) for feature in model.features(images)]
    groups = ["a", "b", "a", "b", "b", "a"]
    named = model.predict_task(images, groups=groups, inference="feature-id")
    for group in "ab":
        total = [sum(alone[i][t] for i in range(6) if groups[i] == group) for t in range(3)]
        assert {named[i] for i in range(6) if groups[i] == group} == {max(range(3), key=lambda t: total[t])}


def test_the_statistics_are_ranpacs_own() -> None:
    """Gathered beside another learner, they are those of the method that is nothing but them."""
    beside = classifier(LinearHead(feature_id=32)).learner.gathered["feature-id"]
    spec = RanPAC(32, feature_id=32)
    alone = classifier(spec).learner.gathered["feature-id"]
    assert all(torch.equal(alone[name], beside[name]) for name in ("weights", "log_shares", "temperature"))


def test_a_learner_without_statistics_cannot_be_asked() -> None:
    with pytest.raises(UserError, match="cannot infer the task by 'feature-id'"):
        classifier(LinearHead(), 1, inference="feature-id")
    with pytest.raises(UserError, match="feature_id must be"):
        LinearHead(feature_id=-1).new_learner(tiny_backbone(), 0)


def test_a_learner_that_needs_no_task_answers_as_before_unless_asked() -> None:
    images = pictures(9, 5)
    plain, with_statistics = (exact(classifier(LinearHead(feature_id=size))) for size in (0, 24))
    assert plain.learner.policies == ("none",) and with_statistics.learner.policies == ("none", "feature-id")
    assert torch.equal(plain.predict_proba(images), with_statistics.predict_proba(images))
    assert plain.predict_task(images) == with_statistics.predict_task(images)
    assert SOFT_TF.new_learner(tiny_backbone(), 0).policies[0] == "prompt-id"


class Rehearsal(LinearHeadLearner):
    """Sees the first task's images again in the second; learns nothing."""

    def begin_task(self, data: TaskData) -> None:
        if self.num_tasks:
            examples, preparation = task_data(0), self.network.backbone.preparation
            loaded = [preparation.load_train(e, "") for e in examples]
            data.rehearse(loaded, torch.arange(len(examples)) % CLASSES[0])
        super().begin_task(data)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"nothing": 0 * self.network.heads.slot(self.num_tasks - 1)["weight"].sum()}


def test_examples_that_are_replayed_are_not_counted_again() -> None:
    ends = []
    for kind in (LinearHeadLearner, Rehearsal):
        learner = LinearHead(feature_id=24).new_learner(tiny_backbone(), 0)
        learner.__class__ = kind
        table = ClassTable()
        for task in range(2):
            training = begin_training(learner, table, task_data(task), f"task {task + 1}", TRAIN)
            training.run_epoch()
            training.finish()
        assert len(training.loader.examples) == len(task_data(1)) + (len(task_data(0)) if kind is Rehearsal else 0)
        ends.append(learner.gathered["feature-id"])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_from_pretrained_serves_it_without_being_told(tmp_path: object) -> None:
    model = classifier(SOFT_TF)
    model.save_pretrained(f"{tmp_path}/saved")
    again = ContinualClassifier.from_pretrained(f"{tmp_path}/saved", backbone=tiny_backbone(), device="cpu")
    images = pictures(5)
    assert again.predict_task(images, inference="feature-id") == model.predict_task(images, inference="feature-id")

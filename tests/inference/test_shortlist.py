"""A shortlist changes no answer that is on it, and what is not on it costs nothing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf import streams
from softtf.adaptations import SoftMask
from softtf.adaptations.slots import Heads
from softtf.adaptations.soft_mask import SoftMasks
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference import predict as predicting
from softtf.inference.answers import class_probabilities, gather_evidence
from softtf.inference.clock import Clock
from softtf.inference.policy import BEST, Policy, parse_policy
from softtf.inference.shortlist import scorer_of
from softtf.learners import DualPrompt, LinearHead
from softtf.network import SharedPass
from softtf.streams import Examples
from softtf.training.config import TrainConfig
from support.tiny import classifier, exact, pictures, spread, tiny_backbone

SPEC = DualPrompt(g_layers="none", e_layers=(3,), adapt=SoftMask((3, 4), "w/ FF"), feature_id=24)
TASKS, IMAGES = 8, 6


@cache
def model_of_many() -> ContinualClassifier:
    model = ContinualClassifier(tiny_backbone(), SPEC, TrainConfig(1, 4, 3.2, precision="float32"), device="cpu")
    for task in range(TASKS):
        model.learn(Examples(list(pictures(4, task)), [2 * task, 2 * task + 1] * 2, f"{task}"), progress=False)
    return spread(exact(model))


def the_pass() -> SharedPass:
    network = model_of_many().learner.network
    loader = predicting.test_loader(streams.unlabelled(pictures(IMAGES, 50)), network.backbone, 9)
    return SharedPass(network, loader.inputs(range(IMAGES)))


def scores(evidence: str) -> Tensor:
    learner = model_of_many().learner
    with learner.computing_in(torch.float64), torch.no_grad():
        return scorer_of(evidence, learner).scores(learner, the_pass())


@pytest.mark.parametrize("name", ["gradient-id", "gradient-id-full", "prompt-id", "feature-id"])
def test_the_tasks_on_it_have_the_scores_that_they_have_among_all(name: str) -> None:
    whole, best = scores(name), scores("feature-id").topk(3, 1).indices
    few = scores(f"{name}:top3")
    assert few.isfinite().sum(1).tolist() == [3] * IMAGES
    torch.testing.assert_close(few.gather(1, best), whole.gather(1, best))
    torch.testing.assert_close(scores(f"{name}:top99"), whole)


@pytest.fixture
def masks_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[int]]:
    """How often a mask of each task is read."""
    found, true = Counter[int](), SoftMasks.mask

    def mask(self: SoftMasks, site: Any, task: int) -> Any:
        found[task] += 1
        return true(self, site, task)

    monkeypatch.setattr(SoftMasks, "mask", mask)
    yield found


def test_gradient_id_reads_the_masks_of_the_tasks_on_it_and_the_mixture_once_for_all_batches(
    masks_read: Counter[int],
) -> None:
    model, images = model_of_many(), pictures(IMAGES, 50)
    listed = set(scores("feature-id").topk(2, 1).indices.flatten().tolist())
    model._kept = None
    model.predict(images, inference="gradient-id:top2", batch_size=1)
    first = Counter(masks_read)
    masks_read.clear()
    model.predict(images, inference="gradient-id:top2", batch_size=1)
    assert set(first) == set(range(TASKS)) and set(masks_read) == listed < set(range(TASKS))
    masks_read.clear()
    model.predict(images, inference="gradient-id")
    assert set(masks_read) == set(range(TASKS))


def test_a_joint_answer_runs_no_more_networks_than_are_on_it() -> None:
    learner = model_of_many().learner
    clock = Clock(torch.device("cpu"))
    for size in (1, 3, TASKS):
        policy = parse_policy(f"feature-id:top{size}:joint")
        with learner.computing_in(torch.float64), torch.no_grad():
            evidence = gather_evidence(learner, [the_pass()], [policy.evidence], clock)
            weights = policy.weights(evidence.scores[policy.evidence], torch.arange(IMAGES))
            found = class_probabilities(learner, evidence.trunk, weights[:, None], [True], 64, clock)
        assert ((weights > 0).sum(1) <= size).all()
        torch.testing.assert_close(found.sum(2), torch.ones(IMAGES, 1, dtype=torch.float64))


@pytest.mark.parametrize("inference", ["prompt-id", "feature-id:joint", "feature-id:top2:joint"])
def test_heads_are_put_together_once_for_all_batches(inference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, read = model_of_many(), pictures(IMAGES, 50), []
    true = Heads.value
    monkeypatch.setattr(Heads, "value", lambda self, task, name: read.append(task) or true(self, task, name))
    model._kept = None
    model.predict(images, inference=inference, batch_size=1)
    assert len(read) == 2 * TASKS  # weights and biases
    model.predict(images, inference=inference)
    assert len(read) == 2 * TASKS


@pytest.mark.parametrize("inference", ["feature-id", "feature-id:joint"])
def test_columns_are_counted_in_one_pass_over_the_tasks(inference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, counted = model_of_many(), []
    true = Heads.num_classes
    monkeypatch.setattr(Heads, "num_classes", lambda self, task: counted.append(task) or true(self, task))
    model.predict(pictures(IMAGES, 50), inference=inference)
    assert len(counted) <= 4 * TASKS


def test_it_is_written_into_a_policy() -> None:
    policy = parse_policy("gradient-id:top16:own")
    assert policy == Policy("gradient-id", answer="own", shortlist=16)
    assert policy.code == "gradient-id:top16:own" and parse_policy(policy.code) == policy
    assert policy.title() == "Gradient ID among 16, per-sample, own classes"
    assert replace(policy, shortlist=None).evidence == "gradient-id"


@pytest.mark.parametrize("text", ["prompt-id:top0", "prompt-id:top4:batch24", "prompt-id:batch24:top4", "oracle:top3"])
def test_it_is_of_single_samples_and_tasks_that_are_inferred(text: str) -> None:
    with pytest.raises(UserError, match="prompt-id|oracle"):
        parse_policy(text)


def test_it_needs_statistics_and_no_groups() -> None:
    with pytest.raises(UserError, match="did not gather; learn with feature_id=1000"):
        classifier(replace(SPEC, feature_id=0), 1).predict(pictures(1), inference="prompt-id:top2")
    with pytest.raises(UserError, match="leave out the groups"):
        model_of_many().predict(pictures(2), inference="prompt-id:top2", groups=["a", "a"])


LINEAR = LinearHead(feature_id=8)


def test_groups_look_at_all_tasks_where_the_classifier_itself_has_a_shortlist() -> None:
    images, groups = pictures(6), [0, 0, 1, 1, 1, 2]
    few, every = (classifier(LINEAR, 3, inference=f"feature-id{among}:joint") for among in (":top1", ""))
    assert torch.equal(few.predict_proba(images, groups=groups), every.predict_proba(images, groups=groups))
    assert not torch.equal(few.predict_proba(images), every.predict_proba(images))


def test_the_usual_shortlist_changes_nothing_among_few_tasks() -> None:
    model = classifier(LINEAR, 3, inference=BEST)
    assert torch.equal(model.predict_proba(pictures(6)), model.predict_proba(pictures(6), inference="feature-id:joint"))

"""P(c|x) = P(t|x) P(c|x,t) against the formula written out, one sample and one task at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softtf import streams
from softtf.adaptations import SoftMask
from softtf.backbones.base import Tokens
from softtf.classifier import ContinualClassifier
from softtf.evaluation.evaluate import evaluate
from softtf.evaluation.test_data import TestData
from softtf.inference import INFERENCES
from softtf.inference import predict as predicting
from softtf.inference.policy import Policy, likely_tasks
from softtf.learners import DualPrompt, LearnerSpec, LinearHead
from softtf.network import SharedPass
from support.tiny import CLASSES, TRAIN, exact, held_out, learned, pictures, task_data, tiny_backbone

SOFT_TF = DualPrompt(e_layers=(3,), adapt=SoftMask((3, 4), init="uniform(0.5,1.5)"), feature_id=24, mcg=3)
HEAD = LinearHead(feature_id=24, mcg=3)  # its answer is the same network's, whatever the task
OWNER = [t for t, count in enumerate(CLASSES) for _ in range(count)]
cases = pytest.mark.parametrize("spec", [SOFT_TF, HEAD], ids=["tf", "head"])
names = pytest.mark.parametrize("name", ["feature-id", "mcg"])


def slow_likely(p: list[float]) -> list[float]:
    """The likeliest tasks first, until they hold 0.99; what they hold is made 1."""
    kept: list[int] = []
    for task in sorted(range(len(p)), key=lambda t: (-p[t], t)):
        if sum(p[t] for t in kept) < 0.99:
            kept.append(task)
    return [p[t] / sum(p[k] for k in kept) if t in kept else 0.0 for t in range(len(p))]


def slow(
    model: ContinualClassifier, images: torch.Tensor, name: str, groups: list[int], cut: bool
) -> list[list[float]]:
    learner = model.learner
    loader = predicting.test_loader(streams.unlabelled(images), learner.network.backbone, 1)
    scores, logits = [], []
    with torch.no_grad(), learner.computing_in(torch.float64):
        for i in range(len(images)):
            shared = SharedPass(learner.network, loader.inputs([i]))
            scores.append(INFERENCES[name]().scores(learner, shared)[0].tolist())
            logits.append([learner.logits(shared.trunk, t)[0].tolist() for t in range(3)])
    answers = []
    for i, group in enumerate(groups):
        together = [sum(scores[j][t] for j in range(len(groups)) if groups[j] == group) for t in range(3)]
        powers = [math.exp(s - max(together)) for s in together]
        p_task = [power / sum(powers) for power in powers]
        p_task = slow_likely(p_task) if cut else p_task
        answer = []
        for c, t in enumerate(OWNER):
            own = [math.exp(logits[i][t][k]) for k in range(len(OWNER)) if OWNER[k] == t]
            answer.append(p_task[t] * math.exp(logits[i][t][c]) / sum(own))
        answers.append(answer)
    return answers


@cases
@names
def test_the_answer_is_the_product_over_the_likely_tasks(spec: LearnerSpec, name: str) -> None:
    model, images = learned(spec), pictures(9, 5)
    alone, together = list(range(9)), [0, 1, 0, 2, 1, 2, 0, 1, 2]
    for groups in (alone, together):
        options = {} if groups is alone else {"groups": groups}
        found = model.answer(images, inference=f"{name}:joint", **options).probabilities
        expected = torch.tensor(slow(model, images, name, groups, cut=True))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        whole = torch.tensor(slow(model, images, name, groups, cut=False))
        assert (found - whole).abs().sum(1).max() <= 0.02 + 1e-6  # 0.01 is taken from some and given to others
        torch.testing.assert_close(found.sum(1), torch.ones(9))
        named = model.predict_task(images, inference=name, **options)
        assert model.predict_task(images, inference=f"{name}:joint", **options) == named
    assert (found.argmax(1).unique()).numel() > 1


def test_several_tasks_have_a_say() -> None:
    """Or the tests here would test what `:own` does."""
    model, images = learned(SOFT_TF), pictures(9, 5)
    found = model.predict_proba(images, inference="mcg:joint")
    shares = torch.stack([part.sum(1) for part in found.split(list(CLASSES), 1)], 1)
    assert ((shares > 0.02).sum(1) > 1).any()
    assert not torch.equal(found, model.predict_proba(images, inference="mcg:own"))


@cases
@names
def test_neither_batch_size_nor_order_nor_neighbours_matter(spec: LearnerSpec, name: str) -> None:
    model, images = learned(spec), pictures(13, 5)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    whole = model.predict_proba(images, inference=f"{name}:joint")
    for batch_size in (1, 4):
        found = model.predict_proba(images[order], inference=f"{name}:joint", batch_size=batch_size)
        torch.testing.assert_close(found, whole[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(model.predict_proba(images[7:8], inference=f"{name}:joint"), whole[7:8])


@cases
def test_evaluate_counts_what_predict_answers_beside_other_policies(spec: LearnerSpec) -> None:
    model, sets = learned(spec), held_out([0, 1, 2])
    policies = [Policy("mcg", answer="joint"), Policy("feature-id", answer="joint"), Policy("feature-id", answer="own")]
    data = TestData.of(sets, model.classes, model.learner.network.backbone, 5)
    scores = evaluate(model.learner, data, model.classes.column_labels(), policies, batch_size=5, dtype=torch.float64)
    for policy, score in scores.items():
        answers = [model.predict(s, inference=policy.code) for s in sets]
        right = [
            sum(a == b for a, b in zip(found, s.labels, strict=True)) for found, s in zip(answers, sets, strict=True)
        ]
        assert score.correct == right
        tasks = [model.predict_task(s, inference=policy.code) for s in sets]
        assert score.task_correct == [named.count(t) for t, named in enumerate(tasks)]


def test_a_label_that_two_tasks_have_gets_what_both_give_it() -> None:
    model = ContinualClassifier(tiny_backbone(), HEAD, TRAIN, device="cpu", seed=3, repeated_classes="allow")
    for task in (0, 1, 0):
        model.learn(task_data(task, seed=task), progress=False)
    answers = exact(model).answer(pictures(5), inference="feature-id:joint").probabilities
    found = model.predict_proba(pictures(5), inference="feature-id:joint")
    assert answers.shape == (5, 8) and found.shape == (5, 5)
    torch.testing.assert_close(found[:, :3], answers[:, :3] + answers[:, 5:])


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any))
def test_likely_tasks_are_the_fewest_that_hold_99_percent(parts: list[int]) -> None:
    p = [part / sum(parts) for part in parts]
    found = likely_tasks(torch.tensor([p], dtype=torch.float64))[0].tolist()
    assert sum(found) == pytest.approx(1)
    kept = [t for t, share in enumerate(found) if share > 0]
    assert sum(p[t] for t in kept) >= 0.99 - 1e-9
    assert sum(p[t] for t in kept) - min(p[t] for t in kept) < 0.99 + 1e-9
    assert min(p[t] for t in kept) >= max((p[t] for t in range(len(p)) if t not in kept), default=0)
    if not any(abs(sum(sorted(p, reverse=True)[:n]) - 0.99) < 1e-9 for n in range(len(p))):
        assert found == pytest.approx(slow_likely(p))


def test_networks_are_run_for_the_tasks_asked_only() -> None:
    """A top on no rows would still make its task's weights, and cost grow with the number of tasks."""
    model = learned(SOFT_TF)
    asked: list[int] = []
    logits = model.learner.logits_of_each

    def counted(trunk: Tokens, tasks: Tensor) -> Tensor:
        asked.extend(tasks.unique().tolist())
        return logits(trunk, tasks)

    model.learner.logits_of_each = counted
    model.predict(pictures(5), task=1)
    assert asked == [1]

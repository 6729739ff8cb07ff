"""The Python API: labels of any kind, given tasks, repeated classes, groups."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference import INFERENCES
from softtf.inference.predict import group_numbers
from softtf.learners import DualPrompt, LinearHead
from softtf.network import SharedPass
from support.tiny import (
    CLASSES,
    LABELS,
    SOFT_TF,
    USUAL_PROJECTION,
    assert_same,
    classifier,
    empty,
    learned,
    pictures,
    snapshot,
    task_data,
    task_labels,
    tiny_backbone,
)

NAMES = ("prompt-id", "gradient-id", "gradient-id-key-prompts")


# --- Labels ---------------------------------------------------------------------------------------------------


def test_labels_of_any_kind_come_back_as_they_were() -> None:
    model = learned(SOFT_TF)
    assert model.labels == [label for t in range(3) for label in model.classes.tasks[t]]
    assert set(model.labels) == set(LABELS) and model.num_tasks == 3
    for task in range(3):
        found = model.predict(pictures(20, 1), task=task)
        assert set(found) <= set(task_labels(task)) and len(set(found)) > 1
        assert {type(label) for label in found} <= {type(label) for label in task_labels(task)}


def test_numpy_labels_and_tuples_are_labels() -> None:
    model = empty(LinearHead())
    model.learn((pictures(4), np.array([5, 6, 5, 6])), progress=False)
    model.learn((pictures(2), [(1, "y"), "x"]), progress=False)
    assert model.labels == [5, 6, (1, "y"), "x"] and type(model.labels[0]) is int


def test_a_task_of_one_class() -> None:
    model = empty()
    model.learn((pictures(5, 1), ["only"] * 5), progress=False)
    assert model.predict(pictures(3)) == ["only"] * 3
    assert torch.equal(model.predict_proba(pictures(3)), torch.ones(3, 1))
    model.learn((pictures(4, 2), [1, 2, 1, 2]), progress=False)
    for name in NAMES:
        assert set(model.predict(pictures(9), inference=name)) <= {"only", 1, 2}
    assert model.predict(pictures(3), task=0) == ["only"] * 3


def test_probabilities_are_over_the_classes_seen_in_the_order_of_learning() -> None:
    model = learned(SOFT_TF)
    proba = model.predict_proba(pictures(6))
    assert proba.shape == (6, len(LABELS)) and proba.dtype == torch.float32
    torch.testing.assert_close(proba.sum(1), torch.ones(6))
    assert [model.labels[i] for i in proba.argmax(1)] == model.predict(pictures(6))
    with torch.no_grad(), model.learner.computing_in(torch.float64):
        x = model.learner.network.backbone.preparation.batch(
            [model.learner.network.backbone.preparation.load_test(p, "") for p in pictures(6)], "cpu"
        )
        trunk = SharedPass(model.learner.network, x).trunk
        tasks = model.predict_task(pictures(6))
        rows = [model.learner.logits(trunk[i : i + 1], t) for i, t in enumerate(tasks)]
    torch.testing.assert_close(proba, torch.cat(rows).softmax(1).float())


def test_a_given_task_restricts_to_its_own_classes_and_its_own_network() -> None:
    model = learned(SOFT_TF)
    for task in range(3):
        start, size = sum(CLASSES[:task]), CLASSES[task]
        proba = model.predict_proba(pictures(5), task=task)
        assert proba[:, :start].sum() == 0 and proba[:, start + size :].sum() == 0
        torch.testing.assert_close(proba.sum(1), torch.ones(5))
        assert model.predict_task(pictures(5), task=task) == [task] * 5
        assert torch.equal(proba, model.predict_proba(pictures(5), task=task, inference="oracle"))


def test_tasks_are_named_by_feature_id_unless_another_inference_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softtf.learners.spec.PROJECTION", USUAL_PROJECTION)
    model = empty()
    for task in range(2):
        model.learn(task_data(task), progress=False)
    assert model.inference.code == "feature-id:top64:joint" and model.header.learner.feature_id == 1000
    proba = model.predict_proba(pictures(6))
    torch.testing.assert_close(proba.sum(1), torch.ones(6))
    assert torch.equal(proba, model.predict_proba(pictures(6), inference="feature-id:joint"))
    model.save_pretrained(tmp_path / "saved")
    again = ContinualClassifier.from_pretrained(tmp_path / "saved", backbone=tiny_backbone(), device="cpu")
    assert again.inference == model.inference and torch.equal(again.predict_proba(pictures(6)), proba)


def test_statistics_are_gathered_wherever_the_answer_depends_on_the_task() -> None:
    own = empty(inference="prompt-id:own")
    assert own.inference.code == "prompt-id:own" and own.learner.statistics
    without = empty(replace(SOFT_TF, feature_id=0))
    assert without.inference.code == "prompt-id" and not without.learner.statistics
    assert empty(replace(SOFT_TF, feature_id=50)).header.learner.feature_id == 50
    plain = empty(LinearHead())
    assert plain.inference.code == "none" and not plain.learner.statistics


def test_own_classes_are_those_of_the_inferred_task() -> None:
    model, images = learned(SOFT_TF), pictures(9, 2)
    tasks = model.predict_task(images, inference="gradient-id")
    own = model.predict_proba(images, inference="gradient-id:own")
    assert model.predict_task(images, inference="gradient-id:own") == tasks
    given = torch.cat([model.predict_proba(images[i : i + 1], task=t) for i, t in enumerate(tasks)])
    torch.testing.assert_close(own, given)
    assert len(set(tasks)) > 1 and not torch.allclose(own, model.predict_proba(images, inference="gradient-id"))


def test_a_class_learned_before_is_refused_by_name_and_nothing_happens() -> None:
    model = learned(SOFT_TF, 2).learner and classifier(SOFT_TF, 2)
    before = snapshot(model.learner)
    with pytest.raises(UserError, match=r"'a'.*repeated_classes='allow'"):
        model.learn((pictures(4), ["new", "a", "new", "a"]), progress=False)
    assert_same(snapshot(model.learner), before)
    assert "new" not in model.labels and model.num_tasks == 2


def repeated() -> ContinualClassifier:
    """Two tasks that share the label "both"; heads of noise, so that no column always wins."""
    model = empty(repeated_classes="allow")
    model.learn((pictures(6, 1), ["a", "both", "both"] * 2), progress=False)
    model.learn((pictures(6, 2), ["both", "c", "d"] * 2), progress=False)
    heads = model.learner.network.heads
    for task in range(2):
        heads.slot(task)["weight"].data.zero_()
        heads.slot(task)["bias"].data.copy_(torch.tensor([[0.5, 0.3], [0.3, 0.0, 0.0]][task]))
    return model


def test_a_repeated_class_gets_the_sum_of_its_columns() -> None:
    model = repeated()
    assert model.labels == ["a", "both", "c", "d"] and model.num_tasks == 2
    answers, proba = model.answer(pictures(5)), model.predict_proba(pictures(5))
    columns = answers.probabilities
    assert columns.shape == (5, 5)
    expected = torch.stack([columns[:, 0], columns[:, 1] + columns[:, 2], columns[:, 3], columns[:, 4]], 1)
    torch.testing.assert_close(proba, expected)
    assert model.predict(pictures(5)) == ["both"] * 5  # "a" has the highest single column
    described = model.named(answers)
    assert [d[0] for d in described] == ["both"] * 5
    assert [d[1] for d in described] == pytest.approx(proba[:, 1].tolist())


@pytest.mark.slow
def test_evaluate_counts_what_predict_answers_where_tasks_share_labels() -> None:
    model = repeated()
    tests = [(pictures(4, 8), ["a", "both", "both", "both"]), (pictures(2, 9), ["both", "c"])]
    right = [p == label for x, labels in tests for p, label in zip(model.predict(x), labels, strict=True)]
    score = model.evaluate(tests, ["prompt-id"])["Prompt ID, per-sample"]
    assert score["pooled"] == pytest.approx(100 * sum(right) / len(right))


# --- Groups ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_groups_pool_evidence_wherever_their_members_stand(name: str, batch_size: int) -> None:
    model = learned(SOFT_TF)
    images = pictures(11, 4)
    groups = ["x", 7, "x", ("y", 1), 7, "x", "z", 7, ("y", 1), 7, "x"]
    with torch.no_grad(), model.learner.computing_in(torch.float64):
        prep = model.learner.network.backbone.preparation
        x = prep.batch([prep.load_test(p, "") for p in images], "cpu")
        scores = INFERENCES[name]().scores(model.learner, SharedPass(model.learner.network, x))
    expected = []
    for group in groups:
        members = [i for i, g in enumerate(groups) if g == group]
        expected.append(int(scores[members].sum(0).argmax()))
    options: dict[str, Any] = {"inference": name, "batch_size": batch_size}
    assert model.predict_task(images, groups=groups, **options) == expected
    given = [model.predict(images[i : i + 1], task=t) for i, t in enumerate(expected)]
    pooled = model.predict_proba(images, groups=groups, **options)
    alone = model.predict_task(images, **options)
    assert alone != expected  # so pooling did something
    assert model.predict_task(images, groups=list(range(11)), **options) == alone
    assert pooled.shape == (11, len(LABELS)) and len(given) == 11


def test_a_pooled_inference_is_the_same_as_groups_of_neighbours() -> None:
    model = learned(SOFT_TF)
    images = pictures(11, 4)
    groups = [i // 4 for i in range(11)]
    by_policy = model.predict_task(images, inference="prompt-id:batch4", batch_size=3)
    assert by_policy == model.predict_task(images, groups=groups, inference="prompt-id", batch_size=64)
    shots = model.predict_task(images, inference="prompt-id:1-shot/4", batch_size=3)
    first = model.predict_task(images, inference="prompt-id")
    assert shots == [first[4 * g] for g in groups]


def test_numpy_and_tensor_groups_are_compared_by_value() -> None:
    assert group_numbers(np.array([3, 3, 5]), 3).tolist() == [0, 0, 1]
    assert group_numbers(torch.tensor([9, 8, 9]), 3).tolist() == [0, 1, 0]
    assert group_numbers(["a", np.str_("a"), 1, 1.0], 4).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("groups", [[1, 2], [1, 2, 3, 4], []])
def test_not_one_group_per_input_is_refused(groups: list[int]) -> None:
    with pytest.raises(UserError, match=f"one group per input: 3 inputs but {len(groups)} groups"):
        learned(SOFT_TF).predict(pictures(3), groups=groups)


@pytest.mark.slow
def test_fewer_tasks_are_loaded_with_the_statistics_as_they_were_then(tmp_path: Path) -> None:
    """They follow from what each task added; what tasks share and trained since does not, and is refused."""
    spec = DualPrompt(g_layers="none", e_layers=(3,))
    model, then = empty(spec), empty(spec)
    then.learn(task_data(0), progress=False)
    for task in range(2):
        model.learn(task_data(task), progress=False)
    model.save_pretrained(tmp_path / "saved")
    options = {"tasks": 1, "backbone": tiny_backbone(), "device": "cpu"}
    again = ContinualClassifier.from_pretrained(tmp_path / "saved", **options)
    assert torch.equal(again.predict_proba(pictures(5)), then.predict_proba(pictures(5)))
    shared = empty(DualPrompt(g_layers=(1,), e_layers=(3,)))
    for task in range(2):
        shared.learn(task_data(task), progress=False)
    shared.save_pretrained(tmp_path / "shared")
    with pytest.raises(UserError, match="no shared state as of task 1"):
        ContinualClassifier.from_pretrained(tmp_path / "shared", **options)

"""The default learner: the same in any order of tasks, on images and on texts."""

from pathlib import Path

import pytest
import torch

from softtf.classifier import ContinualClassifier
from softtf.config.tree import from_dict, to_dict
from softtf.errors import UserError
from softtf.learners import BlockRidge, LearnerSpec, SoftTF
from softtf.statistics.ridge_sums import RidgeSums
from softtf.streams import Examples
from support.tiny import assert_same, task_data, tiny_backbone
from support.tiny_bert import text_task, texts, tiny_bert


def learned(order: list[int], spec: BlockRidge | None = None) -> ContinualClassifier:
    model = ContinualClassifier(tiny_backbone(), spec or BlockRidge(60))
    for task in order:
        model.learn(task_data(task), progress=False)
    return model


def images(task: int) -> list:
    examples = task_data(task, seed=5)
    return [examples[i] for i in range(len(examples))]


def test_it_is_what_a_classifier_learns_by_if_none_is_named() -> None:
    model = ContinualClassifier(tiny_backbone())
    assert model.header.learner == SoftTF(feature_id=0) and model.inference.code == "none"


def test_features_and_sums_of_earlier_tasks_keep_their_bits() -> None:
    """What old inputs are to the regression, and the sums of old classes; only the solution of all sums is new."""
    model = learned([0])
    features = model.features(images(0))
    share = {name: value.clone() for name, value in model.learner.shares.tensors(0).items()}
    for task in (1, 2):
        model.learn(task_data(task), progress=False)
    assert torch.equal(model.features(images(0)), features)
    assert_same(model.learner.shares.tensors(0), share)
    assert model.frozen_backbone_unchanged


def test_tasks_in_any_order_give_the_same_learner() -> None:
    """Sums to the bit; solving meets the labels in another order, which rounds in float64."""
    one, other = learned([0, 1, 2]), learned([2, 0, 1])
    for name in ("mean", "spread"):
        assert torch.equal(one.learner.memory[name], other.learner.memory[name])
    sums, reordered = (
        RidgeSums.total(model.learner.shares_of(model.classes.column_labels()), "", 60, len(model.labels))
        for model in (one, other)
    )
    assert torch.equal(sums.gram, reordered.gram)
    places = [one.labels.index(label) for label in other.labels]
    assert torch.equal(sums.cross[:, places], reordered.cross)
    ours, theirs = one.predict_proba(images(1)), other.predict_proba(images(1))
    torch.testing.assert_close(ours[:, places], theirs, rtol=0, atol=1e-6)


def test_views_of_an_image_differ_and_each_costs_features() -> None:
    one, three = (learned([0], BlockRidge(60, views)) for views in (1, 3))
    assert 3 * one.features(images(0)).shape[1] == three.features(images(0)).shape[1]
    first, usual, *_ = three.features(images(0)).chunk(3, 1)
    assert not torch.equal(first, usual)


def test_short_views_are_saved_and_loaded_with_the_range_of_both_kinds(tmp_path: Path) -> None:
    model = ContinualClassifier(tiny_backbone(depth=6), BlockRidge(60))
    model.learn(task_data(0), progress=False)
    assert len(model.learner.memory["mean"]) == 2 * model.learner.features.view_dim
    model.save_pretrained(tmp_path / "learner")
    again = ContinualClassifier.from_pretrained(tmp_path / "learner", backbone=tiny_backbone(depth=6))
    assert torch.equal(again.predict_proba(images(0)), model.predict_proba(images(0)))


def test_texts_are_learned_and_saved(tmp_path: Path) -> None:
    model = ContinualClassifier(tiny_bert(), BlockRidge(40))
    for task in (0, 1):
        model.learn(text_task(task), progress=False)
    some = list(texts(5, 3))
    alone = torch.cat([model.predict_proba([text]) for text in some])
    torch.testing.assert_close(alone, model.predict_proba(some), rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path / "learner")
    again = ContinualClassifier.from_pretrained(tmp_path / "learner", backbone=tiny_bert())
    assert torch.equal(again.predict_proba(some), model.predict_proba(some))


def test_densities_change_the_answers_and_neither_the_sums_nor_the_regression() -> None:
    both, alone = (learned([0, 1], BlockRidge(60, densities=densities)) for densities in (True, False))
    for task in (0, 1):
        assert_same(both.learner.shares.tensors(task), alone.learner.shares.tensors(task))
        assert_same(both.learner.network.heads.slot(task), alone.learner.network.heads.slot(task))
    assert not torch.equal(both.predict_proba(images(0)), alone.predict_proba(images(0)))


def test_one_class_of_two_examples_can_be_learned() -> None:
    model = ContinualClassifier(tiny_backbone(), BlockRidge(60))
    examples = task_data(0)
    model.learn(Examples([examples[0], examples[1]], ["a", "a"], "few"), progress=False)
    assert model.predict(images(0)) == ["a"] * len(images(0))
    model.learn(Examples([examples[4], examples[5]], ["b", "b"], "few"), progress=False)
    assert model.predict([examples[0], examples[4]]) == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"views": 4}, "views"),
        ({"views": 0}, "views"),
        ({"projection": 2}, "at least views, 3"),
        ({"projection": 10**6}, "50,000"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        BlockRidge(**settings)


def test_a_learner_of_before_there_was_a_setting_reads_its_inputs_as_it_did() -> None:
    later = ("reach", "short_views", "densities")
    earlier = {name: value for name, value in to_dict(BlockRidge(60)).items() if name not in later}
    assert from_dict(LearnerSpec, earlier, "learner") == BlockRidge(60, reach=1, short_views=False, densities=False)
    assert from_dict(LearnerSpec, {"kind": "block-ridge"}, "learner") == BlockRidge()

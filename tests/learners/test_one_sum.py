"""One sum of all tasks: the learner that keeps a sum by task, in the memory of one; its tasks go or stay together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import KLDA, NCM, BlockRidge, DualPrompt, FlyCL, LayUP, LearnerSpec, LinearHead, RanPAC
from softtf.saving.learner import save_task
from softtf.saving.loading import as_after_each_task
from softtf.saving.manifest import HEADER
from support.tiny import assert_same, classifier, pictures, snapshot, task_data

SPECS: dict[str, LearnerSpec] = {
    "block ridge": BlockRidge(20, views=1),
    "NCM": NCM(),
    "RanPAC": RanPAC(24),
    "Fly-CL": FlyCL(24),
    "LayUP": LayUP(2),
    "KLDA": KLDA(12, maps=2, gamma=0.01),
    "Feature ID and MCG": LinearHead(feature_id=24, mcg=3),
    "both": BlockRidge(20, views=1, feature_id=24),
}
QUICK = ("block ridge", "Feature ID and MCG")
each = pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SPECS])


def one(name: str, tasks: int = 3) -> ContinualClassifier:
    return classifier(replace(SPECS[name], sums="one"), tasks)


def load(folder: Path) -> ContinualClassifier:
    return ContinualClassifier.from_pretrained(folder, backbone=one("NCM", 0).learner.network.backbone, device="cpu")


@each
def test_it_answers_as_with_a_sum_by_task_and_keeps_one(name: str) -> None:
    found, by_task = one(name), classifier(SPECS[name])
    mine, its = snapshot(found.learner), snapshot(by_task.learner)
    if name == "block ridge":
        assert_same(mine, its)
    for key, value in its.items():
        torch.testing.assert_close(mine[key], value, rtol=2e-3, atol=1e-4, msg=key)
    assert found.predict(pictures(9)) == by_task.predict(pictures(9))
    kept = found.learner.shares.tasks
    assert [len(share) for share in kept[:-1]] == [0, 0] and kept[-1].keys() == by_task.learner.shares.tasks[0].keys()
    size = {owner: share["gram"].numel() for owner, share in kept[-1].items() if "gram" in share}
    assert size == {
        owner: share["gram"].numel() for owner, share in one(name, 1).learner.shares.tasks[0].items() if "gram" in share
    }


@each
def test_it_is_saved_and_learns_on_and_merges(name: str, tmp_path: Path) -> None:
    whole, begun = one(name), one(name, 2)
    begun.save_pretrained(tmp_path / "two")
    begun = load(tmp_path / "two")
    begun.learn(task_data(2), progress=False)
    begun.save_pretrained(tmp_path / "two", replace=True)
    for model in (begun, load(tmp_path / "two")):
        assert_same(snapshot(model.learner), snapshot(whole.learner))
        assert [len(share) > 0 for share in model.learner.shares.tasks] == [False, False, True]
    apart = classifier(replace(SPECS[name], sums="one"), 0)
    apart.learn(task_data(2), progress=False)
    merged = one(name, 2)
    if name != "Feature ID and MCG":  # whose tasks draw their centroids by number
        merged.merge(apart)
        assert merged.predict(pictures(9)) == whole.predict(pictures(9))


def test_a_run_can_be_read_as_it_was_after_each_task(tmp_path: Path) -> None:
    model = classifier(replace(SPECS["both"], sums="one"), 0)
    model.header.write(tmp_path)
    before = []
    for task in range(3):
        model.learn(task_data(task), progress=False)
        save_task(tmp_path, model.learner, model.classes, task)
        before.append(snapshot(model.learner))
    assert (tmp_path / HEADER).exists()
    whole = ContinualClassifier.from_pretrained(
        tmp_path, backbone=model.learner.network.backbone, device="cpu", unfinished=True
    )
    assert_same(snapshot(whole.learner), before[-1])
    steps = as_after_each_task(tmp_path, whole.header, whole.learner)
    for learner, expected in zip(steps, before, strict=True):
        assert_same(snapshot(learner), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.remove_task(1),
        lambda model: model.keep([1, 0, 2]),
        lambda model: model.forget(["b"]),
        lambda model: model.extend(0, task_data(0)),
    ],
    ids=["remove", "reorder", "forget", "extend"],
)
def test_no_task_can_be_taken_out_or_moved(change: Callable[[ContinualClassifier], object]) -> None:
    model = one("block ridge")
    before = snapshot(model.learner)
    with pytest.raises(UserError, match="sums='one'"):
        change(model)
    assert_same(snapshot(model.learner), before)


def test_it_needs_sums() -> None:
    with pytest.raises(UserError, match="keeps no sums that can be one"):
        classifier(DualPrompt(e_layers=(3,), sums="one"), 0)

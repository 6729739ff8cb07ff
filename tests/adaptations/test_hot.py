"""Masks in memory stay below the user's limit, those of the tasks that answer stay, and no answer changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from softtf.adaptations.hot import HotSlots, size_of
from softtf.adaptations.soft_mask import SoftMasks
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.streams import Examples
from support.tiny import SOFT_TF, classifier, pictures

TASKS = 5


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "learner"
    model = classifier(replace(SOFT_TF, feature_id=16), 0)
    for task in range(TASKS):
        model.learn(Examples(list(pictures(4, task)), [2 * task, 2 * task + 1] * 2, f"{task}"), progress=False)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def load(saved: Path) -> Callable[..., ContinualClassifier]:
    backbone = classifier(SOFT_TF, 0).learner.network.backbone
    return lambda **given: ContinualClassifier.from_pretrained(saved, backbone=backbone, device="cpu", **given)


def masks_of(model: ContinualClassifier) -> SoftMasks:
    (found,) = (a for a in model.learner.network.adaptations if isinstance(a, SoftMasks))
    return found


def hot(model: ContinualClassifier) -> HotSlots:
    found = masks_of(model).hot
    assert found is not None
    return found


def tasks_in(model: ContinualClassifier) -> list[int]:
    """The tasks that have a copy, the least recently used first."""
    slots = [*masks_of(model).slots]
    return [slots.index(slot) for slot in hot(model)]


@pytest.mark.parametrize("fit", [2, *(pytest.param(fit, marks=pytest.mark.slow) for fit in (0, 1, TASKS))])
def test_answers_are_the_same_within_the_limit(load: Any, fit: int) -> None:
    size = size_of(masks_of(load()).own_slot(0))
    limited, plain = load(memory_limit=fit * size + size // 2), load()
    for inference in ("prompt-id", "gradient-id", "feature-id:joint"):
        ours, theirs = (m.predict_proba(pictures(7, 60), inference=inference) for m in (limited, plain))
        assert torch.equal(ours, theirs)
    for task in (*range(TASKS), 0):
        assert torch.equal(*(m.predict_proba(pictures(3, 60), task=task) for m in (limited, plain)))
        copies = [hot(limited).copy_of(slot) for slot in hot(limited)]
        held = sum(size_of(copy) for copy in copies if copy is not None)
        assert held == hot(limited).bytes == size * len(copies) <= hot(limited).limit


def test_the_tasks_that_answered_last_stay_and_are_not_fetched_again(load: Any) -> None:
    size = size_of(masks_of(load()).own_slot(0))
    model = load(memory_limit=2 * size)
    for task, expected, fetched in ((0, [0], 1), (1, [0, 1], 2), (0, [1, 0], 2), (2, [0, 2], 3), (0, [2, 0], 3)):
        model.predict(pictures(2), task=task)
        assert (tasks_in(model), hot(model).fetched) == (expected, fetched)
    model.predict(pictures(TASKS), task=list(range(TASKS)))  # those that fit beside each other, and none twice
    assert len(tasks_in(model)) == 2 and hot(model).fetched <= 5


def test_a_learner_learns_on_and_its_copies_share_the_limit(load: Any) -> None:
    size = size_of(masks_of(load()).own_slot(0))
    model = load(memory_limit=2 * size)
    before = hot(model)
    model.learn(Examples(list(pictures(4, 70)), [98, 99] * 2), progress=False)
    assert hot(model) is before
    assert model.predict(pictures(2), task=TASKS)
    assert tasks_in(model) == []


@pytest.mark.slow
def test_threads_stay_within_it_too(load: Any) -> None:
    size = size_of(masks_of(load()).own_slot(0))
    model, plain = load(memory_limit=2 * size), load()
    expected = [plain.predict_proba(pictures(2), task=task) for task in range(TASKS)]
    wrong: list[int] = []

    def ask() -> None:
        for task in range(TASKS):
            if not torch.equal(model.predict_proba(pictures(2), task=task), expected[task]):
                wrong.append(task)

    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and hot(model).bytes <= hot(model).limit


@pytest.mark.parametrize("limit", ["much", 1e9])
def test_a_limit_that_is_no_number_of_bytes_is_refused_in_a_line(load: Any, limit: Any) -> None:
    with pytest.raises(UserError, match="memory_limit"):
        load(memory_limit=limit)

"""Calls of every kind from seven threads while tasks are learned: each reads finished tasks, and none raises."""

import copy
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS, REPRESENTATIVES
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from support.tiny import backbone_for, classifier, held_out, pictures, task_data

pytestmark = pytest.mark.slow

NAMES = [n for n, c in LEARNERS.items() if not c.texts] if os.environ.get("TRIALS") else REPRESENTATIVES
SECONDS = 120  # none of this takes so long


@pytest.mark.parametrize("name", NAMES)
def test_calls_at_once_are_of_finished_tasks(name: str) -> None:
    spec = LEARNERS[name].spec
    backbone, images = backbone_for(spec), pictures(6, 4)
    model = classifier(spec, 1, backbone)
    other = classifier(spec, 1, backbone, precision="bfloat16")
    alone = copy.deepcopy(model)
    expected = [alone.predict_proba(images)]
    for task in (1, 2):
        alone.learn(task_data(task), progress=False)
        expected.append(alone.predict_proba(images))
    rounded = other.predict_proba(images)

    def is_known(found: Tensor) -> None:
        assert any(found.shape == known.shape and torch.equal(found, known) for known in expected)

    def evaluate() -> None:
        try:
            model.evaluate(held_out(range(model.num_tasks)), progress=False)
        except UserError as error:
            assert "test sets given" in str(error), "a task was finished between the two lines"

    def save() -> None:
        with tempfile.TemporaryDirectory() as place:
            model.save_pretrained(Path(place) / "saved")
            again = ContinualClassifier.from_pretrained(
                Path(place) / "saved", backbone=backbone_for(spec), device="cpu"
            )
        is_known(again.predict_proba(images))

    def bfloat16() -> None:
        assert torch.equal(other.predict_proba(images), rounded)

    calls: list[Callable[[], object]] = [
        *[lambda: is_known(model.predict_proba(images))] * 2,
        *(evaluate, save, bfloat16),
        lambda: is_known(copy.deepcopy(model).predict_proba(images)),
        lambda: model.features(images),
    ]
    done, errors, counts = threading.Event(), [], [0] * len(calls)

    def repeat(number: int) -> None:
        try:
            while not done.is_set() or not counts[number]:
                calls[number]()
                counts[number] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(number,), daemon=True) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for task in (1, 2):
        model.learn(task_data(task), progress=False)
    done.set()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors, errors[0]
    assert torch.equal(model.predict_proba(images), expected[2])

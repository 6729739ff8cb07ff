"""Too little memory ends in one line that names the batch size, and nothing that was learned is lost."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from softtf import ContinualClassifier, DualPrompt, SoftMask
from softtf.devices.memory import is_shortage
from softtf.errors import OutOfMemoryError, TrainingError, UserError
from support.limits import linux, with_little_memory
from support.slow import each
from support.tiny import TRAIN, assert_same, classifier, pictures, snapshot, task_data, tiny_backbone

CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
ERRORS = [
    MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ..."),
    RuntimeError(f"{CPU} 4000000000 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
    MemoryError(),
]
SOFT_TF = DualPrompt(e_layers=(2, 3), adapt=SoftMask((3, 4)))


def raising(error: Exception) -> Callable[..., Any]:
    def function(*args: Any, **options: Any) -> Any:
        raise error

    return function


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@each("place", ("loss", "begin_task", "end_task"), ("loss",))
def test_learn_names_the_batch_size_and_leaves_the_classifier_as_it_was(
    error: Exception, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ContinualClassifier(tiny_backbone(), SOFT_TF, TRAIN, device="cpu", seed=3)
    model.learn(task_data(0), progress=False)
    before, proba = snapshot(model.learner), model.predict_proba(pictures(5))
    with monkeypatch.context() as patch, pytest.raises(OutOfMemoryError) as caught:
        patch.setattr(model.learner, place, raising(error))
        model.learn(task_data(1), progress=False)
    assert isinstance(caught.value, TrainingError) and "\n" not in str(caught.value)
    assert f"the task with batch_size {TRAIN.batch_size}" in str(caught.value)
    assert "give a smaller batch_size, or free memory" in str(caught.value)
    assert ("7.45 GiB" in str(caught.value)) == ("7.45 GiB" in str(error))
    # nothing is held by it; an exception that counts as being handled may be left from before this test
    assert caught.value.__cause__ is None and caught.value.__context__ is sys.exc_info()[1]
    assert_same(snapshot(model.learner), before)
    assert torch.equal(model.predict_proba(pictures(5)), proba)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_predict_evaluate_and_features_name_it_too(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(SOFT_TF)
    tests = [task_data(task) for task in range(model.num_tasks)]
    monkeypatch.setattr(model.learner.network.backbone, "embed", raising(error))
    for call, size in [
        (lambda: model.predict(pictures(5), batch_size=3), 3),
        (lambda: model.evaluate(tests, batch_size=7, progress=False), 7),
        (lambda: model.features(pictures(5)), 64),
    ]:
        with pytest.raises(UserError, match=f"^there is not enough memory to .* with batch_size {size}"):
            call()


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(SOFT_TF)
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not is_shortage(error) and not is_shortage(UserError("out of memory"))
    monkeypatch.setattr(model.learner.network.backbone, "embed", raising(error))
    with pytest.raises(RuntimeError, match="mat1"):
        model.predict(pictures(5))


@pytest.mark.slow
@linux
def test_a_batch_beyond_the_memory_is_refused_in_one_line() -> None:
    model = classifier(SOFT_TF)
    many = np.broadcast_to(np.zeros((16, 16, 3), np.uint8), (16_000, 16, 16, 3))  # which takes no memory itself
    code, line = with_little_memory(2**26, lambda: model.predict(many, batch_size=16_000))
    assert code == 2 and "not enough memory to predict with batch_size 16000" in line
    code, line = with_little_memory(2**26, lambda: model.predict(many[:100], batch_size=10))
    assert code == 0, line


@pytest.mark.slow
@linux
def test_a_task_beyond_the_memory_is_refused_in_one_line() -> None:
    model = ContinualClassifier(tiny_backbone(), SOFT_TF, TRAIN, device="cpu", seed=3)
    many = np.broadcast_to(np.zeros((16, 16, 3), np.uint8), (16_000, 16, 16, 3))
    labels = [i % 2 for i in range(16_000)]
    model.train_config = replace(TRAIN, batch_size=16_000)
    code, line = with_little_memory(2**26, lambda: model.learn((many, labels), progress=False))
    assert code == 2 and "batch_size 16000" in line and "give a smaller batch_size" in line

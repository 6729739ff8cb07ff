"""Whatever raises at whatever line of softtf while a task is learned: the classifier is as before, or has learned."""

import copy
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import torch

import softtf
from contracts.cases import LEARNERS, methods
from softtf.errors import UserError
from support.tiny import assert_same, classifier, pictures, snapshot, task_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_locks")]

ROOT = softtf.__path__[0]
ERRORS = (KeyboardInterrupt, SystemExit, MemoryError, RuntimeError)
TRIALS = os.environ.get("TRIALS")  # of every learner, drawn anew; otherwise two of each method, the same ones each time
CASES = {name: case for name, case in (LEARNERS if TRIALS else methods()).items() if not case.texts}


@contextmanager
def lines(stop: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> Iterator[list[int]]:
    """Count the lines of softtf that are run meanwhile, and raise before the `stop`-th."""
    count = [0]

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            count[0] += 1
            if count[0] == stop:
                raise error(f"before {frame.f_code.co_filename}:{frame.f_lineno}")
        return line

    sys.settrace(lambda frame, event, _: line if frame.f_code.co_filename.startswith(ROOT) else None)
    try:
        yield count
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("name", CASES)
def test_raised_at_any_line_nothing_is_left_half_done(name: str) -> None:
    draw = random.Random(None if TRIALS else name)
    before, images = classifier(CASES[name].spec, 2), pictures(6, 4)
    whole = copy.deepcopy(before)
    with lines() as total:
        whole.learn(task_data(2), progress=False)
    for _ in range(int(TRIALS or 2)):
        model, stop, error = copy.deepcopy(before), draw.randrange(1, total[0]), draw.choice(ERRORS)
        try:
            with lines(stop, error):
                model.learn(task_data(2), progress=False)
        except (error, UserError) as raised:  # too little memory is told as a UserError
            place = str(raised)
        else:
            place = "nowhere: fewer lines were run"
        if model.num_tasks == 2:
            assert_same(snapshot(model.learner), snapshot(before.learner))
            assert model.labels == before.labels
            assert torch.equal(model.predict_proba(images), before.predict_proba(images)), place
            model.learn(task_data(2), progress=False)
        assert_same(snapshot(model.learner), snapshot(whole.learner))
        assert torch.equal(model.predict_proba(images), whole.predict_proba(images)), place

"""A sweep on runs of a second."""

import json
from pathlib import Path
from typing import Any

from support.tiny import SMALL_PROJECTION

SETTINGS = {
    **{"stream.num_tasks": 2, "stream.train_per_class": 6, "stream.test_per_class": 3, "device": "cpu"},
    **{"train.epochs": 2, "train.batch_size": 10, "train.precision": "float32", "learner.e_layers": "4-6"},
    "learner.feature_id": SMALL_PROJECTION,
    **{"backbone.name": "random:test_vit", "backbone.image_size": 32},
}
STEPS = 3  # an epoch; a task has two epochs
SWEEP = {
    "recipes": ["quickstart"],
    "methods": ["dual-prompt+soft-tf"],
    "seeds": [0, 1],
    "settings": SETTINGS,
    "vary": {"learner.adapt.layers": ["5", "5-6"]},
}
"""Four runs."""


def sweep_file(**changes: Any) -> Path:
    """Write the sweep file, with other values of some keys; JSON is YAML too."""
    file = Path("small.yaml")
    file.write_text(json.dumps({**SWEEP, **changes}, indent=1))
    return file


KILLER = """
import os, signal
from pathlib import Path
from softtf.learners.dual_prompt import DualPromptLearner

HERE = Path(__file__).parent
true, steps = DualPromptLearner.loss, iter(range(1, 10**6))

def loss(learner, *args, **options):
    if learner.spec.adapt.layers == "5" and next(steps) == {step}:
        for mark in ("first", "second")[: {times}]:
            try:
                (HERE / mark).touch(exist_ok=False)
            except FileExistsError:
                continue
            if {node} and mark == "second":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    return true(learner, *args, **options)

DualPromptLearner.loss = loss
"""


def killer(times: int, node: bool = False) -> Path:
    """Write a file for --import that kills a run of SWEEP with the mask "5" in its second epoch, so many times.

    node: the second time it kills its parent too; of a worker of Ray's that is the raylet, without which its node is
    gone.
    """
    file = Path("killer.py").absolute()
    file.write_text(KILLER.format(step=STEPS + 2, times=times, node=node))
    return file

"""The accuracy on a task's own test examples, which is kept with the task."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch

from softtf.backbones.base import Backbone
from softtf.errors import UserError
from softtf.inference.base import INFERENCES
from softtf.inference.policy import Policy
from softtf.inference.predict import by_label, predict, test_loader
from softtf.learners.knowledge import Finished
from softtf.saying import warn
from softtf.streams import Examples, examples_from

BATCH = 64


def held_out(test: Any, task: str, classes: Sequence[Hashable], backbone: Backbone) -> Examples | None:
    """Return a task's test examples, given in any form that `learn` takes; None stays None.

    Each is read once, before the task is trained, so that one that cannot be read costs no training.

    Raises:
        UserError: they have another form, one cannot be read, or one is of none of the task's classes.
    """
    if test is None:
        return None
    examples = examples_from(test, f"test examples of {task}", "test")
    if strange := [label for label in examples.classes if label not in classes]:
        raise UserError(f"test examples of {task}: {strange[0]!r} is no class of the task; leave its examples out")
    test_loader(examples, backbone, BATCH).check()
    return examples


def keep_accuracy(finished: Finished, task: int, test: Examples | None, policy: Policy, dtype: torch.dtype) -> None:
    """Answer a task's test examples as `predict` would, and keep the share of right answers in the task's record.

    If they cannot be answered, for example because memory is short, a warning says so, and the trained task stays.

    Args:
        finished: what is known, with this task.
        task: its number, from 0.
        test: its test examples, as `held_out` returned them; nothing is kept without them.
        policy: the classifier's own; with the oracle, the task is given.
        dtype: of the matrix products.
    """
    if test is None:
        return
    learner, classes = finished
    given = task if INFERENCES[policy.inference].given else None
    try:
        answers = predict(learner, test_loader(test, learner.network.backbone, BATCH), policy, task=given, dtype=dtype)
    except UserError as error:
        warn(f"{classes.names[task]} is learned, but its test examples were not answered: {error}", stacklevel=6)
        return
    found = by_label(answers.probabilities, classes.column_labels()).argmax(1)
    right = found == torch.tensor([classes.number(label) for label in test.labels])
    accuracy = 100 * float(right.double().mean())
    classes.records[task] = replace(classes.records[task], accuracy=accuracy, tested=len(test))

"""Answer ID against the sum of the learner's own probabilities, alone and in groups."""

import numpy as np
import pytest

from softtf.errors import UserError
from softtf.learners import BlockRidge, DualPrompt, LinearHead
from support.tiny import CLASSES, learned, pictures

TASK_OF = np.repeat(range(len(CLASSES)), CLASSES)
SPECS = {"ridge": BlockRidge(60), "head": LinearHead()}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_task_is_that_of_most_probability(spec: object) -> None:
    model, images = learned(spec), pictures(9, 5)
    shares = np.add.reduceat(model.predict_proba(images).double().numpy(), np.cumsum([0, *CLASSES[:-1]]), axis=1)
    assert model.predict_task(images, inference="answer-id") == shares.argmax(1).tolist()
    groups = [i % 2 for i in range(9)]
    named = model.predict_task(images, inference="answer-id", groups=groups)
    for group in range(2):
        of_group = np.log(shares[group::2]).sum(0).argmax()
        assert set(named[group::2]) == {of_group}


def test_answers_of_a_group_are_of_its_task() -> None:
    model, images = learned(BlockRidge(60)), pictures(9, 5)
    answers = model.predict(images, inference="answer-id:own", groups=[0] * 9)
    task = model.predict_task(images, inference="answer-id", groups=[0] * 9)[0]
    columns = [model.labels.index(label) for label in answers]
    assert {TASK_OF[column] for column in columns} == {task}


def test_groups_are_pooled_where_no_task_is_needed() -> None:
    model, images, groups = learned(BlockRidge(60)), pictures(9, 5), [0, 1, 1] * 3
    assert model.inference.code == "none"
    assert model.predict(images, groups=groups) == model.predict(images, groups=groups, inference="answer-id:own")


def test_a_method_that_needs_a_task_does_not_have_it() -> None:
    with pytest.raises(UserError, match="cannot infer the task by 'answer-id'"):
        learned(DualPrompt(e_layers=(3,))).predict(pictures(1, 5), inference="answer-id")

"""The head of each task holds its classes' means, also after more of its examples."""

import pytest
import torch
from torch.nn import functional as F

from softtf.classifier import ContinualClassifier
from softtf.learners import NCM
from softtf.learners.shares import METHOD
from support.tiny import classifier, pictures, task_data


def heads(model: ContinualClassifier) -> list[torch.Tensor]:
    return [model.learner.network.heads.task_state_dict(task)["weight"].clone() for task in range(2)]


def test_a_head_becomes_its_new_means_and_the_others_keep_their_bits() -> None:
    model = classifier(NCM(), 2)
    before = heads(model)
    model.extend(model.classes.names[0], task_data(0, seed=5), progress=False)
    after, sums = heads(model), model.learner.shares.tasks[0][METHOD]["sums"]
    torch.testing.assert_close(after[0], F.normalize(sums), rtol=0, atol=1e-6)
    assert not torch.allclose(after[0], before[0], atol=1e-3)
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize(("storage", "most"), [("float32", 1e-6), ("float16", 2**-11)])
def test_a_few_more_examples_move_a_head_too(storage: str, most: float) -> None:
    """By less than float16's numbers near 1 are apart, but by more than a mean's own are."""
    model = classifier(NCM(storage=storage), 0)  # type: ignore[arg-type]
    model.learn((pictures(400, 1), ["a", "b"] * 200), progress=False)
    model.extend(0, (pictures(8, 2), ["a", "b"] * 4), progress=False)
    weight = model.learner.network.heads.task_state_dict(0)["weight"].float()
    torch.testing.assert_close(weight, F.normalize(model.learner.shares.tasks[0][METHOD]["sums"]), rtol=most, atol=1e-7)

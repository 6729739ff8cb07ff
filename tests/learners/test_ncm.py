"""The head of each task holds its classes' means, also after more of its examples."""

import torch
from torch.nn import functional as F

from contracts.tiny import classifier, task_data
from softtf.classifier import ContinualClassifier
from softtf.learners import NCM
from softtf.learners.shares import METHOD


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

"""The losses of MOS and HiDe-Prompt against slow loops."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.learners import MOS, HiDePrompt
from softtf.learners.class_table import ClassTable
from softtf.learners.contrasted import apart
from softtf.network import SharedPass
from softtf.statistics.class_gaussians import MEANS
from softtf.training.data import begin_training
from support.tiny import noise, task_data, tiny_backbone, train_task
from support.tuned import PLAIN, cross_entropy, loss_of, whole_batch

SPECS = {
    "MOS": MOS(rank=3, align_epochs=2, align_samples=6),
    "HiDe-Prompt": HiDePrompt((2, 3), 2, blend=0.2, align_epochs=2, align_samples=6),
}


def slow_apart(rows: Tensor) -> Tensor:
    terms = []
    for i, row in enumerate(rows):
        scores = torch.stack([(row @ other) / 0.8 for other in rows])
        terms.append(-F.log_softmax(scores, 0)[i])
    return torch.stack(terms).mean()


@pytest.mark.parametrize("name", SPECS)
def test_the_losses_are_cross_entropy_over_own_classes_and_the_contrast_with_old_means(name: str) -> None:
    torch.testing.assert_close(apart(noise(6, 5), 0.8), slow_apart(noise(6, 5)))
    learner, classes = SPECS[name].new_learner(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0, PLAIN)
    training = begin_training(learner, classes, task_data(1), "second", PLAIN)
    learner.double()
    batch = whole_batch(training)
    losses = loss_of(training, batch)
    with learner.computing_in(torch.float64), torch.no_grad():
        features = learner.network.top(SharedPass(learner.network, batch.inputs).trunk, task=1)
        logits = learner.network.heads(features, range(1, 2))
    torch.testing.assert_close(losses["cross_entropy"], cross_entropy(logits, [t - 3 for t in batch.targets.tolist()]))
    rows = torch.cat([learner.memory[MEANS].double(), features])
    torch.testing.assert_close(losses["contrast"], 0.1 * slow_apart(rows))

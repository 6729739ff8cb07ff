"""TUNA's merge, loss and choice of a task, against slow loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from softtf.adaptations.continued_adapters import UNIVERSAL, merged
from softtf.learners import TUNA
from softtf.learners.class_table import ClassTable
from softtf.learners.tuna import TUNALearner, surest
from softtf.network import SharedPass
from softtf.training.data import begin_training
from support.tiny import inputs, noise, snapshot, task_data, tiny_backbone, train_task
from support.tuned import PLAIN, continued_adapters, cross_entropy, loss_of, trained, whole_batch

SPEC = TUNA(rank=3, margin=0.2, align_epochs=2, align_samples=6)


def learned(tasks: int = 3) -> TUNALearner:
    learner = trained(SPEC, tasks)
    assert isinstance(learner, TUNALearner)
    return learner


def test_merging_takes_the_sign_of_the_mean_and_the_largest_size_with_it() -> None:
    values = noise(4, 6, 5, seed=1)
    found = merged(values).numpy()
    for place in np.ndindex(6, 5):
        own = [float(values[t][place]) for t in range(4)]
        positive = sum(own) > 0
        expected = max(v for v in own if v > 0) if positive else -max((-v for v in own if v <= 0), default=0.0)
        assert found[place] == expected
    assert torch.equal(merged(values[torch.tensor([2, 0, 3, 1])]), merged(values))
    assert torch.equal(merged(values[:1]), values[0]) and torch.equal(merged(values[:1].expand(3, -1, -1)), values[0])


def test_a_new_tasks_adapters_start_as_the_previous_ones_and_old_ones_stay() -> None:
    learner, classes = SPEC.new_learner(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0, PLAIN)
    begun = begin_training(learner, classes, task_data(1), "second", PLAIN)
    adapters = continued_adapters(learner)
    first, second = (adapters.task_state_dict(task) for task in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    before = {name: value for name, value in snapshot(learner).items() if name.startswith("0/")}
    begun.run_epoch()
    begun.finish()
    assert all(torch.equal(snapshot(learner)[name], value) for name, value in before.items())
    universal = adapters.slot(UNIVERSAL)
    for name, value in universal.items():
        slots = [adapters.task_state_dict(task)[name] for task in range(2)]
        assert torch.equal(value, merged(torch.stack(slots)))


def test_the_loss_has_a_margin_at_the_right_class() -> None:
    learner, classes = SPEC.new_learner(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0, PLAIN)
    training = begin_training(learner, classes, task_data(1), "second", PLAIN)
    learner.double()
    batch = whole_batch(training)
    targets = [t - 3 for t in batch.targets.tolist()]
    with learner.computing_in(torch.float64), torch.no_grad():
        features = learner.network.top(SharedPass(learner.network, batch.inputs).trunk, task=1)
    weight = learner.network.heads.slot(1)["weight"].detach()
    rows = [[20 * float(f @ w / f.norm() / w.norm()) for w in weight] for f in features]
    for row, target in zip(rows, targets, strict=True):
        row[target] -= 20 * 0.2
    found = loss_of(training, batch)["cross_entropy"].detach()
    torch.testing.assert_close(found, cross_entropy(torch.tensor(rows).double(), targets))


def test_the_surest_task_is_that_of_lowest_entropy() -> None:
    probabilities = noise(5, 3, 4, seed=2).mul(2).softmax(-1)
    probabilities[0, 1] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # no NaN from 0 log 0
    for b, found in enumerate(surest(probabilities)):
        entropies = [-sum(p * np.log(p) for p in row if p > 0) for row in probabilities[b].tolist()]
        assert torch.equal(found, probabilities[b, int(np.argmin(entropies))])


def test_an_answer_is_the_mean_of_the_surest_task_and_of_the_universal_network() -> None:
    learner, x = learned(), inputs(4, 6)
    weight = learner.aligned["weight"].double()
    with torch.no_grad():
        trunk = SharedPass(learner.network, x).trunk
        found = learner.logits(trunk, 0).softmax(1)
        tops = [learner.network.top(trunk, task=t) for t in (0, 1, 2, UNIVERSAL)]
    for b in range(4):
        answers = [(20 * F.normalize(weight) @ F.normalize(top[b], dim=0)).softmax(0) for top in tops]
        entropies = [float(-(p * p.log()).sum()) for p in answers[:3]]
        expected = (answers[int(np.argmin(entropies))] + answers[3]) / 2
        torch.testing.assert_close(found[b], expected.to(found), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(tops[2], tops[3])


def test_with_one_task_the_universal_network_is_its_own() -> None:
    learner, x = learned(1), inputs(4, 6)
    with torch.no_grad():
        trunk = SharedPass(learner.network, x).trunk
        torch.testing.assert_close(learner.network.top(trunk, task=UNIVERSAL), learner.network.top(trunk, task=0))
        answer = learner.class_logits(learner.network.top(trunk, task=0), learner.aligned).softmax(1)
        torch.testing.assert_close(learner.logits(trunk, 0).softmax(1), answer)
    with pytest.raises(ValueError, match="rank"):
        TUNA(rank=0)

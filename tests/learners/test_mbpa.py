"""MBPA++: its loss written out, what is in the memory, and local adaptation sample by sample."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.errors import UserError
from softtf.learners import MBPA
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.mbpa import COLUMNS, FEATURES, KEYS, MBPALearner, nearest
from softtf.learners.state import MEMORY
from softtf.memory import separate
from softtf.network import SharedPass
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support.tiny import TRAIN, classifier, exact, inputs, noise, task_data, task_labels
from support.tracing import Traced
from support.tuned import assert_gradients, cross_entropy, in_task, loss_of, slow_features, slow_logits, whole_batch


def at_step(training: TaskTraining, step: int) -> Batch:
    batch = whole_batch(training, [0, 3, 5])
    return Batch(batch.inputs, batch.targets, batch.rows, step=step)


def classes_of(task: int) -> ClassTable:
    table = ClassTable()
    table.add(task_labels(task), "earlier")
    return table


def test_every_nth_step_learns_the_batch_and_as_many_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    training = in_task(MBPA(write=1, replay_every=4), 1)
    learner, loader = training.learner, training.loader
    kept, columns = separate("episodes", learner.memory), learner.memory[COLUMNS].tolist()
    assert len(kept) == 12 and set(columns) == {0, 1, 2}
    drawn: list[Tensor] = []
    true_prepared = loader.prepared
    monkeypatch.setattr(loader, "prepared", lambda loaded, *rest: (drawn.extend(loaded), true_prepared(loaded))[1])
    batch = at_step(training, 7)
    drawn.clear()
    losses = loss_of(training, batch)
    assert len(drawn) == 3
    labels = [columns[next(i for i, k in enumerate(kept) if torch.equal(k, d))] for d in drawn]
    new = cross_entropy(slow_logits(learner.network, batch.inputs), batch.targets.tolist())
    old = cross_entropy(slow_logits(learner.network, true_prepared(drawn)), labels)
    torch.testing.assert_close(losses["cross_entropy"], new)
    torch.testing.assert_close(losses["replay"], old)
    assert_gradients(training, batch, new + old)
    for step in (0, 4, 6):
        assert loss_of(training, at_step(training, step))["replay"] == 0
    first = in_task(MBPA(write=1, replay_every=4), 0)
    assert loss_of(first, at_step(first, 7))["replay"] == 0  # there are no memories yet


def test_the_memory_is_a_random_share_with_labels_frozen_keys_and_todays_features() -> None:
    training = in_task(MBPA(write=0.3), 1, task_data(1, per_class=150))
    learner, before = training.learner, dict(training.learner.memory)
    with learner.computing_in(torch.float64):
        learner.write(training.loader)
    memory, old = learner.memory, len(before[COLUMNS]) if COLUMNS in before else 0
    examples, columns = separate("episodes", memory), memory[COLUMNS]
    assert 60 < len(examples) - old < 120  # of 300; the deviation is 8
    assert len(examples) == len(columns) == len(memory[KEYS]) == len(memory[FEATURES])
    raw = task_data(1, per_class=150)
    for example, column in list(zip(examples, columns.tolist(), strict=True))[old : old + 9]:
        same = [i for i in range(300) if torch.equal(example.permute(1, 2, 0), raw[i])]
        assert column - 3 in {i // 150 for i in same}
    some = slice(max(0, old - 2), old + 3)
    x = training.loader.prepared(examples[some])
    torch.testing.assert_close(memory[FEATURES][some], slow_features(learner.network, x), check_dtype=False)
    backbone = learner.network.backbone
    frozen = backbone.pool(backbone.run(backbone.embed(x), 0, backbone.depth))
    torch.testing.assert_close(memory[KEYS][some].double(), frozen, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_each_sample_is_answered_by_a_classifier_that_its_own_neighbours_adapted(steps: int) -> None:
    spec = MBPA(write=0.8, neighbours=5, steps=steps, rate=0.7, pull=0.05)
    learner = exact(classifier(spec)).learner
    assert isinstance(learner, MBPALearner)
    memory = {name: value.double() if value.is_floating_point() else value for name, value in learner.memory.items()}
    heads = [learner.network.heads.slot(t) for t in range(3)]
    weight, bias = (torch.cat([h[name] for h in heads]).detach() for name in ("weight", "bias"))
    x = inputs(4, 3)
    with torch.no_grad(), learner.computing_in(torch.float64):
        shared = SharedPass(learner.network, x)
        found = learner.logits(shared.trunk, 1)
        query = shared.query
    for i, feature in enumerate(slow_features(learner.network, x).detach()):
        distances = [float((query[i] - key).norm()) for key in memory[KEYS]]
        near = sorted(range(len(distances)), key=distances.__getitem__)[:5]
        neighbours, labels = memory[FEATURES][near], memory[COLUMNS][near]
        step = 0.7 / float(neighbours.square().sum(1).mean())
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        for _ in range(steps):
            likelihood = F.cross_entropy(neighbours @ w.T + b, labels)
            loss = 0.05 * ((w - weight).square().sum() + (b - bias).square().sum()) + likelihood
            gw, gb = torch.autograd.grad(loss, [w, b])
            w, b = ((v - step * g).detach().requires_grad_() for v, g in ((w, gw), (b, gb)))
        torch.testing.assert_close(found[i], (feature @ w.T + b).detach(), rtol=0, atol=1e-9)


def test_a_replay_costs_as_much_with_a_large_memory_as_with_a_small_one() -> None:
    def cost(per_class: int) -> int:
        training = in_task(MBPA(write=1, replay_every=4), 0, task_data(0, per_class))
        with training.learner.computing_in(torch.float64):
            training.finish()
        learner, data = training.learner, task_data(1)
        training = begin_training(learner, classes_of(0), data, "newest", TRAIN)
        learner.double()
        with Traced() as traced:
            loss_of(training, at_step(training, 7))
        assert len(learner.memory[COLUMNS]) == 3 * per_class
        return traced.operations

    assert cost(40) == cost(4)


def test_the_memory_is_copied_to_where_it_is_needed_once_and_not_at_every_answer() -> None:
    learner = exact(classifier(MBPA(write=1))).learner  # which computes in another type than the memory has
    assert isinstance(learner, MBPALearner)
    learner.memory = {name: v.float() if v.is_floating_point() else v for name, v in learner.memory.items()}
    copied = []
    with torch.no_grad(), learner.computing_in(torch.float64):
        for seed in range(3):
            trunk = SharedPass(learner.network, inputs(2, seed)).trunk
            with Traced() as traced:
                learner.logits(trunk, 1)
            copied.append(traced.copied)
    keys = learner.memory[KEYS].numel()
    assert copied[0] >= keys > max(copied[1:])


def test_what_earlier_tasks_remember_is_neither_copied_nor_saved_again_while_a_task_trains() -> None:
    training = in_task(MBPA(write=1), 1)
    learner, state = training.learner, training.state()
    assert all(learner.shared_before[MEMORY + name] is value for name, value in learner.memory.items())
    assert learner.memory and not [name for name in state if name.startswith("memory/")]
    other = in_task(MBPA(write=1), 1)
    for tensors in (state, state | {f"memory/{n}": v for n, v in learner.memory.items()}):  # as it was saved before
        other.learner.memory = {}
        other.load_state(tensors)
        assert other.learner.memory.keys() == learner.memory.keys()
        assert all(torch.equal(other.learner.memory[n], v) for n, v in learner.memory.items())
    other.learner.shared_before = {}
    with pytest.raises(UserError, match="memories that this learner does not have"):
        other.load_state(state)


def test_neighbours_are_the_nearest_and_all_where_there_are_few() -> None:
    keys, queries = noise(40, 6), noise(7, 6, seed=1)
    found = nearest(queries, keys, 9)
    for query, rows in zip(queries, found.tolist(), strict=True):
        distances = (keys - query).norm(dim=1)
        assert set(rows) == set(distances.argsort()[:9].tolist())
    assert nearest(queries, keys[:3], 9).shape == (7, 3)


def test_at_least_one_example_of_each_task_is_written() -> None:
    model = classifier(MBPA(write=1e-9), 2)
    columns = model.learner.memory[COLUMNS].tolist()
    assert [column < len(task_labels(0)) for column in columns] == [True, False]
    assert len(model.predict(list(task_data(0)))) == 12


@pytest.mark.parametrize("settings", [{"write": 0}, {"write": 1.5}, {"replay_every": 0}, {"steps": -1}, {"rate": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        MBPA(**settings)

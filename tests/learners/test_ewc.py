"""EWC's penalty and Fisher information, written out."""

import pytest
import torch
from torch import Tensor

from softtf.learners import EWC
from softtf.streams import Examples
from support.slow import each
from support.tiny import pictures, task_labels
from support.tuned import assert_gradients, cross_entropy, in_task, loss_of, slow_features, slow_logits, whole_batch


@pytest.mark.parametrize("classes", ["seen", "own"])
def test_the_loss_is_cross_entropy_and_the_weighted_squared_distance(classes: str) -> None:
    training = in_task(EWC(weight=7.0, fisher_samples=4, classes=classes), 1)  # type: ignore[arg-type]
    learner, batch = training.learner, whole_batch(training)
    penalty: Tensor | float = 0.0
    before = learner.shared_before
    assert all(fisher.sum() > 0 for fisher in learner.memory.values())
    for name, parameter in learner.shared_parameters():
        if f"fisher.{name}" in learner.memory:
            penalty = penalty + 7.0 / 2 * (learner.memory[f"fisher.{name}"] * (parameter - before[name]) ** 2).sum()
    first = 3 if classes == "own" else 0
    logits = slow_logits(learner.network, batch.inputs)[:, first:]
    data_loss = cross_entropy(logits, [t - first for t in batch.targets.tolist()])
    losses = loss_of(training, batch)
    torch.testing.assert_close(losses["cross_entropy"], data_loss)
    torch.testing.assert_close(losses["penalty"], penalty)
    assert losses["penalty"] > 1e-3
    assert_gradients(training, batch, data_loss + penalty)
    names = {n for n in learner.memory if n.startswith("fisher.head.")}
    assert names == ({"fisher.head.slots.0.weight", "fisher.head.slots.0.bias"} if classes == "seen" else set())
    assert sum(n.startswith("fisher.FineTunedWeights.changes.") for n in learner.memory) == 16


def test_there_is_no_penalty_in_the_first_task_nor_where_nothing_moved() -> None:
    first = in_task(EWC(), 0)
    assert loss_of(first, whole_batch(first)).keys() == {"cross_entropy"}
    second = in_task(EWC(fisher_samples=2), 1, step=0)
    assert loss_of(second, whole_batch(second))["penalty"] == 0


def test_the_fisher_information_is_the_mean_squared_score_of_drawn_labels_summed_over_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = in_task(EWC(fisher_samples=100, classes="seen"), 1)  # so that all eight examples are taken
    learner, loader = training.learner, training.loader
    before, drawn, rows = dict(learner.memory), [], []
    true_draw, true_loaded = torch.multinomial, loader.loaded

    def draw(*args, **options):
        drawn.append(int(true_draw(*args, **options)))
        return torch.tensor([drawn[-1]])

    def loaded(indices):
        rows.extend(indices)
        return true_loaded(indices)

    monkeypatch.setattr(torch, "multinomial", draw)
    monkeypatch.setattr(loader, "loaded", loaded)
    with learner.computing_in(torch.float64):
        learner.remember(loader)
    monkeypatch.undo()
    assert sorted(rows) == list(range(8)) and len(drawn) == 8 and len(set(drawn)) > 1
    parameters = dict(learner.shared_parameters())
    expected = {f"fisher.{name}": torch.zeros_like(p) for name, p in parameters.items()}
    for row, label in zip(rows, drawn, strict=True):
        inputs = whole_batch(training, [row]).inputs
        log_p = -cross_entropy(slow_logits(learner.network, inputs), [label])
        for name, gradient in zip(parameters, torch.autograd.grad(log_p, list(parameters.values())), strict=True):
            expected[f"fisher.{name}"] += gradient**2 / 8
    assert learner.memory.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(learner.memory[name], value + before.get(name, 0), rtol=1e-6, atol=1e-10)


@each("samples", {"200": 200, "600": 600}, ("200",))
def test_labels_are_drawn_from_the_models_answer_and_not_taken_from_the_data(samples: int) -> None:
    """For the bias of class k, E (1[y = k] - p_k)^2 = p_k (1 - p_k), whatever the data say."""
    image, labels = pictures(1, 3)[0], task_labels(0)
    data = Examples([image] * samples, [labels[0]] * (samples - 2) + list(labels[1:]), "one image")
    training = in_task(EWC(fisher_samples=samples, classes="seen"), 0, data)
    learner, logits = training.learner, torch.tensor([0.3, 0.0, 0.8]).double()
    with torch.no_grad():
        features = slow_features(learner.network, whole_batch(training, [0]).inputs)[0]
        slot = learner.network.heads.slot(0)
        slot["bias"].copy_(logits - slot["weight"] @ features)
    with learner.computing_in(torch.float64):
        learner.remember(training.loader)
    p = logits.softmax(0)
    torch.testing.assert_close(learner.memory["fisher.head.slots.0.bias"], p * (1 - p), rtol=0, atol=0.03)

"""DER++'s loss, written out, and what its buffer holds."""

import pytest
import torch

from softtf.learners import DERpp
from softtf.learners.derpp import Kept, distance
from softtf.memory import Reservoir
from support.tiny import assert_same, classifier, snapshot, task_data
from support.tuned import assert_gradients, cross_entropy, in_task, loss_of, slow_logits, whole_batch


def test_the_loss_is_of_the_batch_of_stored_logits_and_of_stored_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    training = in_task(DERpp(exemplars=10, alpha=0.3, beta=0.7), 1)
    learner, batch = training.learner, whole_batch(training, [0, 3, 5, 6, 7])
    drawn: list[list[Kept]] = []
    true_draw = Reservoir.draw

    def draw(self, count, generator):
        drawn.append(true_draw(self, count, generator))
        return drawn[-1]

    def loss(again=False):
        """The same draws each time: the buffer is put back, and the draws come from the step's number."""
        kept = learner.memory
        losses = loss_of(training, batch)
        learner.memory = kept
        return losses

    monkeypatch.setattr(Reservoir, "draw", draw)
    losses = loss()
    dark, labelled = drawn
    assert len(dark) == len(labelled) == 5 and {len(k.logits) for k in dark} == {3}
    assert [k.column for k in dark] != [k.column for k in labelled]  # two draws

    def logits_of(kept):
        return slow_logits(learner.network, training.loader.prepared([k.example for k in kept]))

    new = cross_entropy(slow_logits(learner.network, batch.inputs), batch.targets.tolist())
    squares = [((row[:3] - k.logits.double()) ** 2).sum() / 3 for row, k in zip(logits_of(dark), dark, strict=True)]
    stored = 0.3 * torch.stack(squares).mean()
    labels = 0.7 * cross_entropy(logits_of(labelled), [k.column for k in labelled])
    torch.testing.assert_close(losses["cross_entropy"], new)
    torch.testing.assert_close(losses["stored_logits"], stored)
    torch.testing.assert_close(losses["stored_labels"], labels)
    memory = learner.memory
    learner.memory = memory  # as after loading
    monkeypatch.setattr(learner, "_offer", lambda *_: None)
    assert_gradients(training, batch, new + stored + labels)


def test_logits_of_different_lengths_are_compared_over_the_classes_known_then() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 9.0]])
    stored = [torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0, 3.0, 2.0]), torch.zeros(3)]
    assert distance(logits, stored).item() == pytest.approx((4 / 2 + 5 / 4 + 0) / 3)


def test_the_buffer_holds_what_was_trained_on_with_its_label_and_the_logits_of_that_moment() -> None:
    training = in_task(DERpp(exemplars=100), 0)
    learner = training.learner
    seen = []
    for rows in ([2, 0, 5], [1, 3]):
        batch = whole_batch(training, rows)
        logits = slow_logits(learner.network, batch.inputs).detach()
        loss_of(training, batch)
        seen += list(zip(rows, batch.targets.tolist(), logits, strict=True))
        with torch.no_grad():
            for parameter in training.parameters.values():
                parameter.mul_(0.9)
    examples = task_data(0)
    assert len(learner.buffer.items) == learner.buffer.seen == 5
    for kept, (row, column, logits) in zip(learner.buffer.items, seen, strict=True):
        assert torch.equal(kept.example.permute(1, 2, 0), examples[row]) and kept.column == column
        torch.testing.assert_close(kept.logits, logits.float(), rtol=0, atol=1e-6)


def test_the_first_step_of_all_has_nothing_to_replay() -> None:
    training = in_task(DERpp(), 0)
    losses = loss_of(training, whole_batch(training))
    assert losses["stored_logits"] == losses["stored_labels"] == 0 < losses["cross_entropy"]


def test_the_buffer_is_of_all_tasks_and_a_task_in_training_leaves_it_as_it_was() -> None:
    model = classifier(DERpp(exemplars=12), 2)
    buffer = model.learner.buffer
    assert len(buffer.items) == 12 and buffer.seen == 12 + 8
    assert {len(k.logits) for k in buffer.items} == {3, 5} and {k.column > 2 for k in buffer.items} == {False, True}
    before = snapshot(model.learner)
    training = in_task(DERpp(exemplars=12), 2)
    kept = {n: v for n, v in training.learner.shared_before.items() if n.startswith("memory.")}
    finished = training.learner.face()
    training.learner.go_on()
    training.run_epoch()
    assert training.learner.buffer.seen == 36
    found = {n: v for n, v in snapshot(finished).items() if n.startswith("shared/memory.")}
    assert_same(found, {f"shared/{n}": v for n, v in kept.items()})
    assert {n for n in before if n.startswith("shared/memory.")} == found.keys()

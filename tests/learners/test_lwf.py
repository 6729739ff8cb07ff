"""LwF's loss, written out."""

import torch
from torch import Tensor

from softtf.learners import LwF
from support.tiny import CLASSES
from support.tuned import assert_gradients, cross_entropy, in_task, loss_of, slow_logits, whole_batch


def softened(row: Tensor, temperature: float) -> Tensor:
    """The paper's y^(1/T) / sum y^(1/T) of the softmax outputs y."""
    outputs = row.exp() / row.exp().sum()
    powers = outputs ** (1 / temperature)
    return powers / powers.sum()


def test_the_loss_is_cross_entropy_on_the_new_task_and_distillation_on_each_old_one() -> None:
    training = in_task(LwF(weight=0.7, temperature=2.5), 2)
    learner, batch = training.learner, whole_batch(training)
    logits = slow_logits(learner.network, batch.inputs)
    old = slow_logits(learner.teacher.network, batch.inputs)
    columns = [slice(0, 3), slice(3, 5)]
    distilled: Tensor | float = 0.0
    for ours, theirs in zip(logits, old, strict=True):
        for c in columns:
            terms = softened(theirs[c], 2.5) * torch.log(softened(ours[c], 2.5))
            distilled = distilled - 0.7 * terms.sum() / len(logits)
    first = sum(CLASSES[:2])
    new = cross_entropy(logits[:, first:], [t - first for t in batch.targets.tolist()])
    losses = loss_of(training, batch)
    torch.testing.assert_close(losses["cross_entropy"], new)
    torch.testing.assert_close(losses["distillation"], distilled)
    assert_gradients(training, batch, new + distilled)


def test_the_network_before_is_that_at_the_end_of_the_last_task_and_let_go_with_the_task() -> None:
    training = in_task(LwF(), 1, step=0)
    learner, batch = training.learner, whole_batch(training)
    before = slow_logits(learner.network, batch.inputs)[:, :3]
    with torch.no_grad(), learner.computing_in(torch.float64):
        for parameter in training.parameters.values():
            parameter.add_(1.0)
        torch.testing.assert_close(learner.teacher.logits(batch.inputs), before)
    assert (slow_logits(learner.network, batch.inputs)[:, :3] - before).abs().max() > 0.1
    learner.end_task(training.data)
    assert learner.teacher.network is None


def test_the_first_task_has_nothing_to_distil() -> None:
    training = in_task(LwF(), 0)
    assert training.learner.teacher.network is None
    assert loss_of(training, whole_batch(training)).keys() == {"cross_entropy"}

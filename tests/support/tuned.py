"""What the tests of whole-network methods share: a learner in mid-training, and its network by the slow forward."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from references.vit import NAMES, layer, vit_forward
from softtf.adaptations.continued_adapters import ContinuedAdapters
from softtf.learners import LearnerSpec
from softtf.learners.base import Batch, Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.fine_tuning import FineTunedLearner
from softtf.network import AdaptedNetwork
from softtf.streams import Examples
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support.tiny import MEAN, STD, TRAIN, generator, task_data, tiny_backbone, train_task

PLAIN = replace(TRAIN, learning_rate=0.1, augment=False)


def trained(spec: LearnerSpec, tasks: int) -> Learner:
    """A learner after its first tasks."""
    learner, classes = spec.new_learner(tiny_backbone(), 3), ClassTable()
    for task in range(tasks):
        train_task(learner, classes, task, PLAIN)
    return learner


def continued_adapters(learner: Learner) -> ContinuedAdapters:
    """The adapters of MOS or TUNA."""
    (adapters,) = learner.network.adaptations
    assert isinstance(adapters, ContinuedAdapters)
    return adapters


def in_task(spec: LearnerSpec, task: int, data: Examples | None = None, step: float = 0.05) -> TaskTraining:
    """The training of task `task` (from 0) in float64, its parameters moved by noise from where they start."""
    learner, classes = spec.new_learner(tiny_backbone(), 3), ClassTable()
    for earlier in range(task):
        train_task(learner, classes, earlier, PLAIN)
    training = begin_training(learner, classes, data or task_data(task), "newest", PLAIN)
    learner.double()
    with torch.no_grad():
        for i, parameter in enumerate(training.parameters.values()):
            parameter.add_(step * torch.randn(parameter.shape, generator=generator(i), dtype=torch.float64))
    training.dtype = torch.float64
    return training


def whole_batch(training: TaskTraining, rows: Sequence[int] | None = None) -> Batch:
    """The examples at `rows` as one batch, without augmentation; all for None."""
    wanted = torch.arange(len(training.loader.examples)) if rows is None else torch.tensor(rows)
    inputs = training.loader.prepared(training.loader.loaded(wanted.tolist()))
    return Batch(inputs, training.loader.targets[wanted], wanted)


def loss_of(training: TaskTraining, batch: Batch) -> dict[str, Tensor]:
    with training.learner.computing_in(torch.float64):
        return training.learner.loss(batch)


def slow_features(network: AdaptedNetwork, inputs: Tensor) -> Tensor:
    """Features [b, dim] by the reference, W + D in place of W."""
    (tuned,), vit = network.adaptations, network.backbone.vit
    keys = {(b, n): f"layer{b + 1:02d}_{n}" for b in range(len(vit.blocks)) for n in NAMES}
    weights = {k: layer(vit, *k).weight + tuned.changes[name] for k, name in keys.items() if name in tuned.changes}
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in (MEAN, STD))
    return vit_forward(vit, (inputs.double() - mean) / std, weights=weights)[0]


def slow_logits(network: AdaptedNetwork, inputs: Tensor) -> Tensor:
    """Logits [b, classes seen] by the reference."""
    heads = [network.heads.slot(t) for t in range(network.heads.num_tasks)]
    features = slow_features(network, inputs)
    return torch.cat([features @ h["weight"].T + h["bias"] for h in heads], 1)


def cross_entropy(logits: Tensor, targets: Sequence[int]) -> Tensor:
    """Mean over rows of -log softmax at the target, written out."""
    terms = [-torch.log(row.exp()[t] / row.exp().sum()) for row, t in zip(logits, targets, strict=True)]
    return torch.stack(terms).mean()


def assert_gradients(training: TaskTraining, batch: Batch, expected: Tensor) -> None:
    """The losses' sum has the gradients of `expected` for everything that is trained."""
    parameters: dict[str, Tensor] = dict(training.parameters)
    ours = torch.autograd.grad(torch.stack(list(loss_of(training, batch).values())).sum(), list(parameters.values()))
    wanted = torch.autograd.grad(expected, list(parameters.values()))
    for name, a, b in zip(parameters, ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def learner_of(training: TaskTraining) -> FineTunedLearner:
    assert isinstance(training.learner, FineTunedLearner)
    return training.learner

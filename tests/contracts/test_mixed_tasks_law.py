"""Law: samples of different tasks in one batch, in any order, get the answers that they get alone with their task."""

import random

import pytest
import torch
from torch import Tensor

from contracts.cases import ADAPTATIONS, LEARNERS, REPRESENTATIVES, AdaptationCase, LearnerCase
from softtf.adaptations.base import Adaptation
from softtf.errors import UserError
from softtf.learners import DualPrompt
from softtf.network import AdaptedNetwork, SharedPass
from support.folders import SOFT_TF
from support.slow import each
from support.tiny import generator, inputs, learned, pictures, tiny_backbone

IMAGES = {name: case for name, case in LEARNERS.items() if not case.texts}
TASKS = torch.tensor([2, 0, 1, 1, 0, 2, 2, 0, 1, 2])


def orders() -> list[list[int]]:
    """The samples sorted by task, in one order and in another."""
    return [TASKS.argsort(stable=True).tolist(), *(random.Random(seed).sample(range(10), 10) for seed in (0, 1))]


@each("case", IMAGES, REPRESENTATIVES)
def test_a_batch_of_given_tasks_is_answered_as_each_task_alone(case: LearnerCase) -> None:
    model = learned(case.spec)
    images = pictures(len(TASKS), 7)
    alone = torch.empty(len(TASKS), model.learner.num_classes)
    for task in range(3):
        rows = (task == TASKS).nonzero()[:, 0]
        alone[rows] = model.answer(list(images[rows]), task=task).probabilities
    for order, batch_size in zip(orders(), (10, 10, 4), strict=True):
        mixed = model.answer(list(images[order]), task=TASKS[order].tolist(), batch_size=batch_size)
        torch.testing.assert_close(mixed.probabilities, alone[order], rtol=0, atol=1e-6)
        assert torch.equal(mixed.tasks, TASKS[order])


@each("case", IMAGES, REPRESENTATIVES)
def test_a_batch_of_inferred_tasks_is_answered_as_each_sample_alone(case: LearnerCase) -> None:
    model = learned(case.spec)
    images = pictures(len(TASKS), 7)
    alone = [model.answer([image]) for image in images]
    for order in orders():
        mixed = model.answer(list(images[order]))
        torch.testing.assert_close(
            mixed.probabilities, torch.cat([alone[i].probabilities for i in order]), rtol=0, atol=1e-6
        )
        assert mixed.tasks.tolist() == [int(alone[i].tasks) for i in order]


@pytest.mark.parametrize("case", ADAPTATIONS.values(), ids=ADAPTATIONS)
def test_the_tops_of_a_batch_are_those_of_its_tasks(case: AdaptationCase) -> None:
    """Whatever the adaptation edits: weights, prefixes, outputs, tokens."""
    spec = DualPrompt(g_layers=(1,), e_layers=(3, 4), adapt=case.spec, storage=case.storage)
    network = network_of(spec)
    tasks = TASKS.sort().values
    with torch.no_grad():
        trunk = SharedPass(network, inputs(len(tasks))).trunk
        alone = torch.cat([network.top(trunk[rows], task) for task, rows in enumerate(rows_of(tasks))])
        torch.testing.assert_close(network.tops(trunk, tasks), alone, rtol=0, atol=1e-9)
        assert not torch.allclose(alone, network.top(trunk, 0)), "the tasks' networks do not differ"


def network_of(spec: DualPrompt) -> AdaptedNetwork:
    """Three tasks whose parameters differ."""
    learner = spec.new_learner(tiny_backbone(), 0)
    for task in range(3):
        learner.open_slots(2)
        with torch.no_grad():
            for name, parameter in learner.trained_parameters().items():
                if ".task." in name:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(task)))
        learner.close_slots()
    learner.double()
    network = learner.network
    network.backbone.compute_dtype = torch.float64
    return network


def rows_of(tasks: Tensor) -> list[slice]:
    stops = torch.bincount(tasks).cumsum(0).tolist()
    return [slice(a, b) for a, b in zip([0, *stops], stops, strict=False)]


def test_tasks_that_do_not_fit_are_refused() -> None:
    model = learned(SOFT_TF)
    images = list(pictures(3))
    for task, words in (
        ([0, 1], "3 inputs but 2 tasks"),
        ([0, 1, 3], "no task 3"),
        ([0, 1, True], "must be an integer, not True"),
    ):
        with pytest.raises(UserError, match=words):
            model.answer(images, task=task)


def test_the_adaptations_are_asked_for_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a user's need not know of batches of several tasks."""
    seen: list[object] = []
    true = Adaptation.prefix

    def prefix(self: Adaptation, block: int, selection: object) -> Tensor | None:
        seen.append(getattr(selection, "task", None))
        return true(self, block, selection)  # type: ignore[arg-type]

    monkeypatch.setattr(Adaptation, "prefix", prefix)
    learned(SOFT_TF).answer(list(pictures(3)), task=[0, 1, 2])
    assert set(seen) <= {None, 0, 1, 2} and {0, 1, 2} <= set(seen)

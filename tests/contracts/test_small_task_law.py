"""Whatever the size of a task, the classes learned before it are named as before: for every closed-form method.

Eight tasks of three classes, thirty examples each, overlapping so that about four fifths of the samples are told
right; then one more task. Of the usual size it may cost the old classes some points, as there are more classes to
choose from. Of any other size it may cost hardly more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from softtf.learners import KLDA, NCM, BlockRidge, FlyCL, LayUP, LearnerSpec, RanPAC
from softtf.learners.closed_form import ClosedFormLearner
from softtf.statistics import ClassScores, Share, SharedStatistics, TaskCentroids
from support.tiny import noise, tiny_backbone

DIM, OLD, USUAL, TASKS = 32, 24, 30, 8
CENTRES = noise(OLD + 1, DIM, seed=1)


@dataclass
class Answers:
    """The labels named for the old classes' test samples after the old tasks, and after one more."""

    before: float
    after: float


def samples(label: int, count: int, seed: int) -> Tensor:
    return (CENTRES[label] + 1.7 * noise(count, DIM, seed=1000 * seed + label)).float()


def stream(extra: list[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    """Features and labels of the old tasks, and of one with the `extra` (label, examples)."""
    groups = [[(label, USUAL) for label in range(3 * t, 3 * t + 3)] for t in range(TASKS)]
    found = []
    for number, group in enumerate([*groups, extra]):
        features = torch.cat([samples(label, count, 2 + (number == TASKS)) for label, count in group])
        found.append((features, torch.cat([torch.full((count,), label) for label, count in group])))
    return found


TEST = torch.cat([samples(label, 20, 9) for label in range(OLD)])
TRUTH = torch.arange(OLD).repeat_interleave(20)


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Percent of the test samples whose label, summed over its columns, is likeliest."""
    summed = torch.zeros(len(TEST), OLD + 1).index_add_(1, labels, probabilities.float())
    return 100 * float((summed.argmax(1) == TRUTH).float().mean())


def by_learner(spec: LearnerSpec) -> Callable[[list[tuple[int, int]]], Answers]:
    def learn(extra: list[tuple[int, int]]) -> Answers:
        learner = spec.new_learner(tiny_backbone(), 0)
        assert isinstance(learner, ClosedFormLearner)
        copies = learner.network.backbone.dim // DIM  # of the features, where a method reads those of several blocks
        learner.network.top = lambda trunk, task: trunk  # type: ignore[method-assign]
        columns, scores = torch.empty(0, dtype=torch.int64), []
        for features, labels in stream(extra):
            own, places = labels.unique(return_inverse=True)
            learner.open_slots(len(own))
            columns = torch.cat([columns, own])
            learner.fit(features.repeat(1, copies), places + len(columns) - len(own), columns)
            learner.close_slots()
            scores.append(accuracy(learner.logits(TEST.repeat(1, copies), 0).softmax(1), columns))
        return Answers(*scores[-2:])

    return learn


def by_statistics(statistics: SharedStatistics) -> Callable[[list[tuple[int, int]]], Answers]:
    """Feature ID's classes, or for MCG the task: accuracy is that of the task's first class in place of its classes."""

    def learn(extra: list[tuple[int, int]]) -> Answers:
        shares: list[Share] = []
        columns, scores = torch.empty(0, dtype=torch.int64), []
        for features, labels in stream(extra):
            own, places = labels.unique(return_inverse=True)
            columns = torch.cat([columns, own])
            share, known = statistics.learn(shares, features, places + len(columns) - len(own), columns)
            shares.append(share)
            if isinstance(statistics, ClassScores):
                scores.append(accuracy(statistics.log_probabilities(known, TEST).exp(), columns))
            else:
                assert isinstance(statistics, TaskCentroids)
                named = statistics.nearness(known, TEST).argmax(1)
                scores.append(100 * float((named == TRUTH // 3).float().mean()))
        return Answers(*scores[-2:])

    return learn


METHODS = {
    "ncm": by_learner(NCM()),
    "ranpac": by_learner(RanPAC(200)),
    "fly-cl": by_learner(FlyCL(200)),
    "klda": by_learner(KLDA(200, maps=2)),
    "layup": by_learner(LayUP(1)),
    "block-ridge": by_learner(BlockRidge(200, views=2)),
    "feature-id": by_statistics(ClassScores(DIM, 200, 0)),
    "mcg": by_statistics(TaskCentroids(DIM, 6, 0)),
}
methods = pytest.mark.parametrize("learn", METHODS.values(), ids=METHODS)
NEW = OLD
SIZES = {"one example": 1, "two examples": 2, "a fifth of the usual": 6, "ten times the usual": 10 * USUAL}


@pytest.mark.slow
@methods
@pytest.mark.parametrize("count", SIZES.values(), ids=SIZES)
def test_a_task_of_one_class_costs_no_more_than_of_the_usual_size(
    learn: Callable[[list[tuple[int, int]]], Answers], count: int
) -> None:
    usual, other = learn([(NEW, USUAL)]), learn([(NEW, count)])
    assert other.before == usual.before > 70
    assert usual.before - usual.after < 4
    assert other.after > usual.after - 2


@methods
@pytest.mark.parametrize("count", [1, USUAL, 10 * USUAL])
def test_more_examples_of_an_old_class_leave_the_others(
    learn: Callable[[list[tuple[int, int]]], Answers], count: int, request: pytest.FixtureRequest
) -> None:
    found = learn([(7, count)])
    least = 6 if "mcg" in request.node.name else 2  # to MCG the class's samples are now of either of two tasks
    assert found.after > found.before - least


def test_as_published_ranpac_loses_what_it_learned() -> None:
    """What the two laws above are for: without them a task of ten times the usual size takes most answers."""
    published = by_learner(RanPAC(200, balance=False))([(NEW, 10 * USUAL)])
    assert published.after < published.before - 10

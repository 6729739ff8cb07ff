"""Score a learner under several policies in one pass over the test data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.features import FixedQueries, Queries
from softtf.inference import INFERENCES
from softtf.inference.answers import Clock, class_probabilities, gather_evidence, tops_needed, weigh_tasks
from softtf.inference.policy import Policy
from softtf.inference.predict import by_label
from softtf.learners.base import Learner
from softtf.seeds import derive_seed
from softtf.streams import Loader


@dataclass(frozen=True)
class TestData:
    """The test sets of a whole stream behind one another.

    loader: in test mode; labels: [samples], label numbers; tasks: [samples], which task's test set each is from;
    queries: of all samples, where scoring them more than once is foreseen.
    """

    __test__ = False  # not a pytest class

    loader: Loader
    labels: Tensor
    tasks: Tensor
    queries: FixedQueries | None = None


@dataclass(frozen=True)
class Score:
    """Counts per test set under one policy: right answers, right tasks, samples; and the seconds it takes alone."""

    correct: list[int]
    task_correct: list[int]
    total: list[int]
    seconds: float

    @property
    def acc(self) -> float:
        """Mean over test sets of the percentage of right answers."""
        return 100 * sum(c / n for c, n in zip(self.correct, self.total, strict=True)) / len(self.total)

    @property
    def pooled(self) -> float:
        """Percentage of right answers over all samples."""
        return 100 * sum(self.correct) / sum(self.total)

    @property
    def task_identity(self) -> float:
        """Percentage of samples whose task was named right."""
        return 100 * sum(self.task_correct) / sum(self.total)


@torch.no_grad()
def evaluate(
    learner: Learner,
    data: TestData,
    column_labels: Tensor,
    policies: Sequence[Policy],
    *,
    batch_size: int = 120,
    dtype: torch.dtype = torch.float32,
    shuffle_seed: int | None = None,
) -> dict[Policy, Score]:
    """Score the tasks learned so far on their own test sets, under each policy.

    Args:
        learner: with at least one task.
        data: test sets of the stream, in its order.
        column_labels: [classes seen], the label number of each logit column.
        policies: what to score; each is answered from the same pass.
        batch_size: samples run at once; bounds memory, changes no per-sample answer.
        dtype: of the matrix products.
        shuffle_seed: shuffle the test samples across tasks first (pooled policies then lose their advantage).

    Returns:
        counts per policy; `seconds` are the parts of the pass that this policy alone would need, the query's forward
        pass among them, also where `data.queries` spares it here: as measured when they were computed.
    """
    order, segments = _order(data, learner.num_tasks, shuffle_seed)
    clock = Clock(next(learner.parameters()).device)
    labels = torch.empty(len(order), len(policies), dtype=torch.int64)
    tasks = torch.empty_like(labels)
    tops, alone = 0, torch.zeros(len(policies), dtype=torch.int64)
    with learner.computing_in(dtype):
        queries = _known_queries(learner, data, policies)
        for rows in chunks(segments, math.lcm(*(p.group for p in policies)), batch_size):
            known = queries.select(order[rows]) if queries else None
            probabilities, tasks[rows], needed = _answer(learner, data, order[rows], policies, batch_size, clock, known)
            tops, alone = tops + needed[0], alone + needed[1]
            labels[rows] = by_label(probabilities, column_labels).argmax(2)
    truth = data.tasks[order]
    right = labels == data.labels[order][:, None]
    task_right = tasks == truth[:, None]
    return {
        p: _score(
            learner.num_tasks, truth, right[:, i], task_right[:, i], _alone(learner, p, clock, int(alone[i]) / tops)
        )
        for i, p in enumerate(policies)
    }


def _known_queries(learner: Learner, data: TestData, policies: Sequence[Policy]) -> Queries | None:
    """Return the queries of all of `data` if it has them and a policy reads them."""
    if data.queries is None or not any(_needs_query(learner, p) for p in policies):
        return None
    assert data.queries.backbone is learner.network.backbone
    return data.queries.get()


def _needs_query(learner: Learner, policy: Policy) -> bool:
    inferred = policy.inference in INFERENCES and INFERENCES[policy.inference].needs_query
    return inferred or learner.network.needs_query


def _order(data: TestData, num_tasks: int, shuffle_seed: int | None) -> tuple[Tensor, Tensor]:
    """Return the samples of the tasks learned so far in the order of testing, and the segment of each.

    Groups never cross from one segment into the next: a segment is a task's test set, or the shuffled whole.
    """
    order = torch.nonzero(data.tasks < num_tasks)[:, 0]
    if shuffle_seed is None:
        return order, data.tasks[order]
    generator = torch.Generator().manual_seed(derive_seed(shuffle_seed, "shuffle-test"))
    return order[torch.randperm(len(order), generator=generator)], torch.zeros_like(order)


def _answer(
    learner: Learner,
    data: TestData,
    positions: Tensor,
    policies: Sequence[Policy],
    batch_size: int,
    clock: Clock,
    known: Queries | None,
) -> tuple[Tensor, Tensor, tuple[int, Tensor]]:
    """Return probabilities [samples, policies, columns], the named tasks [samples, policies] and `tops_needed`."""
    inferences = sorted({p.inference for p in policies} - {"oracle", "none"})
    evidence = gather_evidence(learner, data.loader.batches(positions.tolist()), inferences, clock, known)
    given = data.tasks[positions].to(clock.device)
    place = torch.arange(len(positions), device=clock.device)
    weights = torch.stack([weigh_tasks(p, evidence, place // p.group, given, learner.num_tasks) for p in policies], 1)
    within = [p.within_task for p in policies]
    probabilities = class_probabilities(learner, evidence.trunk, weights, within, batch_size, clock)
    column_task, tasks = learner.column_tasks().to(clock.device), weights.argmax(2)
    unneeded = torch.tensor([p.inference == "none" for p in policies], device=clock.device)
    named = torch.where(unneeded, column_task[probabilities.argmax(2)], tasks)
    return probabilities.cpu(), named.cpu(), tops_needed(learner, weights)


def chunks(segments: Tensor, group: int, batch_size: int) -> list[Tensor]:
    """Cut sample numbers into runs of whole groups within one segment, near `batch_size` samples each."""
    size = group * max(1, batch_size // group)
    ends = torch.nonzero(torch.diff(segments, append=segments.new_full((1,), -1)))[:, 0] + 1
    starts = [0, *ends.tolist()[:-1]]
    return [rows for a, b in zip(starts, ends.tolist(), strict=True) for rows in torch.arange(a, b).split(size)]


def _alone(learner: Learner, policy: Policy, clock: Clock, share: float) -> float:
    """Seconds for this policy alone: the shared trunk, its own inference, its share of the tops that were run."""
    parts = ["trunk"] + ["query"] * _needs_query(learner, policy)
    if policy.inference in INFERENCES:
        parts.append(policy.inference)
    return sum(clock.seconds[part] for part in parts) + clock.seconds["answer"] * share


def _score(num_tasks: int, tasks: Tensor, right: Tensor, task_right: Tensor, seconds: float) -> Score:
    def count(mask: Tensor) -> list[int]:
        return torch.bincount(tasks[mask], minlength=num_tasks).tolist()

    return Score(count(right), count(task_right), count(torch.ones_like(right)), seconds)

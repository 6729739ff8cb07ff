"""Score a learner under several policies in one pass over the test data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.inference import INFERENCES
from softtf.inference.answers import Clock, choose_tasks, class_logits, gather_evidence
from softtf.inference.policy import Policy
from softtf.learners.base import Learner
from softtf.seeds import derive_seed
from softtf.streams import Loader


@dataclass(frozen=True)
class TestData:
    """The test sets of a whole stream behind one another.

    loader: in test mode; labels: [samples], label numbers; tasks: [samples], which task's test set each is from.
    """

    __test__ = False  # not a pytest class

    loader: Loader
    labels: Tensor
    tasks: Tensor


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
        counts per policy; `seconds` are the parts of the pass that this policy alone would need.
    """
    device = next(learner.parameters()).device
    order = torch.nonzero(data.tasks < learner.num_tasks)[:, 0]
    segments = data.tasks[order]  # groups never cross from one test set into the next ...
    if shuffle_seed is not None:
        generator = torch.Generator().manual_seed(derive_seed(shuffle_seed, "shuffle-test"))
        order = order[torch.randperm(len(order), generator=generator)]
        segments = torch.zeros_like(order)  # ... unless the stream is shuffled and has no next one
    right = {p: torch.zeros(len(order), dtype=torch.bool) for p in policies}
    task_right = {p: torch.zeros(len(order), dtype=torch.bool) for p in policies}
    clock = Clock(device)
    pairs = dict.fromkeys(policies, 0)
    unique_pairs = 0
    inferences = sorted({p.inference for p in policies} - {"oracle", "none"})
    column_task = learner.column_tasks()
    with learner.computing_in(dtype):
        for rows in chunks(segments, math.lcm(*(p.group for p in policies)), batch_size):
            positions = order[rows]
            batches = data.loader.batches(positions.tolist())
            evidence = gather_evidence(learner, batches, inferences, clock)
            given = data.tasks[positions].to(device)
            local = torch.arange(len(rows), device=device)
            tasks = torch.stack([choose_tasks(p, evidence, local // p.group, given) for p in policies], 1)
            logits = class_logits(learner, evidence.trunk, tasks, batch_size, clock)
            unique_pairs += sum(len(set(row)) for row in tasks.tolist())
            for i, policy in enumerate(policies):
                answer = logits[:, i]
                if policy.within_task:
                    answer = answer.masked_fill(column_task.to(device) != tasks[:, i, None], float("-inf"))
                columns = answer.argmax(1).cpu()
                right[policy][rows] = column_labels[columns] == data.labels[positions]
                named = column_task[columns] if policy.inference == "none" else tasks[:, i].cpu()
                task_right[policy][rows] = named == data.tasks[positions]
                pairs[policy] += len(rows)
    results = {}
    for p in policies:
        seconds = _alone(p, clock, pairs[p] / max(1, unique_pairs))
        results[p] = _score(learner.num_tasks, data.tasks[order], right[p], task_right[p], seconds)
    return results


def chunks(segments: Tensor, group: int, batch_size: int) -> list[Tensor]:
    """Cut sample numbers into runs of whole groups within one segment, near `batch_size` samples each."""
    size = group * max(1, batch_size // group)
    ends = torch.nonzero(torch.diff(segments, append=segments.new_full((1,), -1)))[:, 0] + 1
    starts = [0, *ends.tolist()[:-1]]
    return [rows for a, b in zip(starts, ends.tolist(), strict=True) for rows in torch.arange(a, b).split(size)]


def _alone(policy: Policy, clock: Clock, share: float) -> float:
    """Seconds for this policy alone: the shared trunk, its own inference, its share of the tops that were run."""
    parts = ["trunk"]
    if policy.inference in INFERENCES:
        parts += [policy.inference] + ["query"] * INFERENCES[policy.inference].needs_query
    return sum(clock.seconds[part] for part in parts) + clock.seconds["answer"] * share


def _score(num_tasks: int, tasks: Tensor, right: Tensor, task_right: Tensor, seconds: float) -> Score:
    def count(mask: Tensor) -> list[int]:
        return torch.bincount(tasks[mask], minlength=num_tasks).tolist()

    return Score(count(right), count(task_right), count(torch.ones_like(right)), seconds)

"""Score a learner under several policies in one pass over the test data."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from softtf.backbones.answering import answering
from softtf.backbones.base import Tokens
from softtf.backbones.feature_store import Queries
from softtf.devices.memory import needs_memory
from softtf.devices.processes import count, mine, summed
from softtf.evaluation.calibration import calibration_error, reliability
from softtf.evaluation.kept import KeptTrunk
from softtf.evaluation.test_data import TestData
from softtf.inference.answers import answer, tops_needed
from softtf.inference.clock import Clock
from softtf.inference.policy import Policy
from softtf.inference.predict import by_label
from softtf.learners.base import Learner
from softtf.network import SharedPass
from softtf.seeds import derive_seed

BATCH_SIZE = 60  # measured: docs/performance-details.md, "Evaluation batch size"
FEATURES, SAMPLES = "features", "scoring"

OnProgress = Callable[[str, int, int], None]
"""Called with what is done, FEATURES or SAMPLES, the samples that are done, and all samples."""


def unshown(what: str, done: int, total: int) -> None:
    """Show no progress."""


class Samples(NamedTuple):
    """The answer to each test sample under one policy, in the order of the concatenated test sets.

    label: [samples], int64, the number of the true label; of_task: which task's test set it is from; answer: the number
    of the label that was answered; task: the task that was taken; confidence: float32, the answer's probability.
    """

    label: Tensor
    of_task: Tensor
    answer: Tensor
    task: Tensor
    confidence: Tensor

    @property
    def right(self) -> Tensor:
        """Whether each answer is right, [samples]."""
        return self.answer == self.label

    @property
    def ece(self) -> float:
        """The expected calibration error in percent (`softtf.evaluation.calibration`)."""
        return calibration_error(reliability(self.confidence, self.right))


@dataclass(frozen=True)
class Score:
    """Counts per test set under one policy: right answers, right tasks, samples; and the seconds of this policy alone.

    seconds: that passed here; from_nothing: what they would be if nothing had been kept of earlier work, neither on
    disk nor in memory; samples: what the counts are of.
    """

    correct: list[int]
    task_correct: list[int]
    total: list[int]
    seconds: float
    from_nothing: float
    samples: Samples | None = field(default=None, compare=False)

    @property
    def acc(self) -> float:
        """Mean over test sets of the percentage of right answers."""
        return 100 * sum(c / n for c, n in zip(self.correct, self.total, strict=True)) / len(self.total)

    @property
    def pooled(self) -> float:
        """Percentage of right answers over all samples."""
        return 100 * sum(self.correct) / sum(self.total)

    @property
    def ece(self) -> float:
        """Expected calibration error of the answers' probabilities, in percent."""
        assert self.samples is not None
        return self.samples.ece

    @property
    def task_identity(self) -> float:
        """Percentage of samples whose task was named right."""
        return 100 * sum(self.task_correct) / sum(self.total)


@needs_memory("score", lambda *_, batch_size=BATCH_SIZE, **__: batch_size)
@torch.no_grad()
def evaluate(
    learner: Learner,
    data: TestData,
    column_labels: Tensor,
    policies: Sequence[Policy],
    *,
    batch_size: int = BATCH_SIZE,
    dtype: torch.dtype = torch.float32,
    shuffle_seed: int | None = None,
    on_progress: OnProgress = unshown,
) -> dict[Policy, Score]:
    """Score the tasks learned so far on their own test sets, under each policy.

    Where `data.queries` are given and nothing edits the backbone, a learner that answers by features runs its head
    alone. The queries were computed in other batches, so a feature may differ from a new one by rounding (in float32
    about 1e-6 of its length). `data.trunks` changes no bit.

    Args:
        learner: with at least one task.
        data: test sets of the stream, in its order.
        column_labels: [classes seen], the label number of each logit column.
        policies: what to score; each is answered from the same pass.
        batch_size: samples run at once; bounds memory, changes no per-sample answer.
        dtype: of the matrix products.
        shuffle_seed: shuffle the test samples across tasks first (pooled policies then lose their advantage).
        on_progress: called after each chunk of samples.

    The processes of a run each answer some batches; all get the whole result.

    Returns:
        counts per policy. The seconds are those of the parts of the pass that this policy alone would need.

    Raises:
        UserError: an input cannot be loaded, or there is not enough memory.
    """
    order, segments = _order(data, learner.num_tasks, shuffle_seed)
    clock = Clock(next(learner.parameters()).device)
    labels = torch.zeros(len(order), len(policies), dtype=torch.int64)
    tasks, confidence = torch.zeros_like(labels), torch.zeros(labels.shape, dtype=torch.float32)
    tops, done = torch.zeros(1 + len(policies), dtype=torch.int64), 0
    with learner.computing_in(dtype), answering({}):
        start = time.perf_counter()
        queries = _known_queries(learner, data, policies, partial(on_progress, FEATURES))
        if queries is not None:  # loading inputs is on no clock, neither here nor in what computing them took
            clock.seconds["features"] += min(time.perf_counter() - start, queries.seconds)
        batches = _Batches(learner, data, queries, clock, keep=shuffle_seed is None)
        for rows in mine(chunks(segments, math.lcm(*(p.pooling.group for p in policies)), batch_size)):
            place = torch.arange(len(rows), device=clock.device)
            members = [place // p.pooling.group for p in policies]
            found = answer(learner, batches.passes(order[rows]), policies, members, batch_size, clock)
            tasks[rows] = found.tasks.cpu()
            batches.keep_trunks()
            tops += tops_needed(learner, found.weights)
            likely = by_label(found.probabilities.cpu(), column_labels)
            labels[rows] = likely.argmax(2)
            confidence[rows] = likely.amax(2).float()
            done = min(done + len(rows) * count(), len(order))
            on_progress(SAMPLES, done, len(order))
    labels, tasks, confidence, tops = map(summed, (labels, tasks, confidence, tops))  # each sample is in one process
    clock.average([p.evidence for p in policies])
    place = order.argsort()  # from the order of testing back to that of the test sets
    truth = data.labels[order[place]], data.tasks[order[place]]
    return {
        p: _score(
            learner.num_tasks,
            Samples(*truth, labels[place, i], tasks[place, i], confidence[place, i]),
            _alone(learner, p, clock, int(tops[1 + i]) / int(tops[0])),
        )
        for i, p in enumerate(policies)
    }


def _known_queries(
    learner: Learner, data: TestData, policies: Sequence[Policy], on_step: Callable[[int, int], None]
) -> Queries | None:
    """Return the queries of `data`; None if it has none, or neither a policy nor the answer reads them."""
    reads = _features_suffice(learner) or any(_needs_query(learner, p) for p in policies)
    if data.queries is None or not reads:
        return None
    assert data.queries.backbone is learner.network.backbone
    return data.queries.get(on_step)


def _features_suffice(learner: Learner) -> bool:
    """Say whether the answer depends on nothing but the query."""
    return learner.answers_by_features and learner.network.is_untouched


def known_trunk(learner: Learner, query: Tensor | None) -> Tokens | None:
    """Return the features as the trunk of a batch whose query is known, if the answer depends on nothing else."""
    return Tokens.of_features(query) if query is not None and _features_suffice(learner) else None


@dataclass(frozen=True)
class _Batches:
    """Shared passes over test samples, with the results that were kept; the clock gets the seconds that these took."""

    learner: Learner
    data: TestData
    queries: Queries | None
    clock: Clock
    keep: bool  # whether the same batches will come again
    new: list[tuple[Tensor, Tokens]] = field(default_factory=list)  # rows and trunks of passes whose seconds are unread

    def passes(self, positions: Tensor) -> Iterator[SharedPass]:
        """Yield a pass per batch of the samples at `positions`; `keep_trunks` keeps their trunks."""
        network, trunks = self.learner.network, self.data.trunks if self.keep else None
        for rows in positions.split(self.data.loader.batch_size):
            query = self._query(rows)
            found = trunks.find(network, rows) if trunks else None
            trunk = found.tokens if found else known_trunk(self.learner, query)
            given = self.data.tasks[rows].to(self.clock.device)
            shared = SharedPass(network, partial(self.data.loader.inputs, rows.tolist()), query, trunk, given)
            yield shared
            if found:
                self.clock.kept["trunk"] += found.seconds
            elif trunks and trunk is None:
                self.new.append((rows, shared.trunk))

    def keep_trunks(self) -> None:
        """Read the clock, and keep the new trunks, each with its samples' share of the seconds since the last call."""
        before = self.clock.seconds["trunk"]
        self.clock.read()
        spent, samples = self.clock.seconds["trunk"] - before, sum(len(rows) for rows, _ in self.new)
        for rows, trunk in self.new:
            assert self.data.trunks is not None
            self.data.trunks.keep(self.learner.network, rows, KeptTrunk(trunk, spent * len(rows) / samples))
        self.new.clear()

    def _query(self, rows: Tensor) -> Tensor | None:
        """Return the known queries of some samples, or None, and add their share of the seconds to the clock.

        The seconds of the stem's blocks count as the trunk's, which runs anyway, except where the queries replace it.
        """
        if self.queries is None:
            return None
        part, network = self.queries.select(rows), self.learner.network
        if _features_suffice(self.learner):
            self.clock.kept["trunk"] += part.seconds
        else:
            self.clock.kept["query"] += part.seconds * (1 - network.first_edited_block / network.backbone.depth)
        return part.values.to(self.clock.device)


def _needs_query(learner: Learner, policy: Policy) -> bool:
    return policy.needs_query or learner.network.needs_query


def _order(data: TestData, num_tasks: int, shuffle_seed: int | None) -> tuple[Tensor, Tensor]:
    """Return the samples of the tasks learned so far in the order of testing, and the segment of each.

    No group spans two segments. A segment is a task's test set, or all samples if they are shuffled.
    """
    order = torch.nonzero(data.tasks < num_tasks)[:, 0]
    if shuffle_seed is None:
        return order, data.tasks[order]
    generator = torch.Generator().manual_seed(derive_seed(shuffle_seed, "shuffle-test"))
    return order[torch.randperm(len(order), generator=generator)], torch.zeros_like(order)


def chunks(segments: Tensor, group: int, batch_size: int) -> list[Tensor]:
    """Cut sample numbers into runs of whole groups within one segment, near `batch_size` samples each."""
    size = group * max(1, batch_size // group)
    ends = torch.nonzero(torch.diff(segments, append=segments.new_full((1,), -1)))[:, 0] + 1
    starts = [0, *ends.tolist()[:-1]]
    return [rows for a, b in zip(starts, ends.tolist(), strict=True) for rows in torch.arange(a, b).split(size)]


def _alone(learner: Learner, policy: Policy, clock: Clock, share: float) -> tuple[float, float]:
    """Seconds for this policy alone, here and from nothing.

    They are those of the shared trunk, of the query where it is read, of the policy's own inference, and its share of
    those of the tops. Here they include reading the cached features; from nothing, computing all that was cached.
    """
    needs = _needs_query(learner, policy)
    parts = ["trunk", *["query"] * needs, policy.evidence]
    common = sum(clock.seconds[part] for part in parts) + clock.seconds["answer"] * share
    reads = needs or _features_suffice(learner)
    return common + clock.seconds["features"] * reads, common + sum(clock.kept[part] for part in parts)


def _score(num_tasks: int, samples: Samples, seconds: tuple[float, float]) -> Score:
    def count(mask: Tensor) -> list[int]:
        return torch.bincount(samples.of_task[mask], minlength=num_tasks).tolist()

    right, task_right = samples.right, samples.task == samples.of_task
    return Score(count(right), count(task_right), count(torch.ones_like(right)), *seconds, samples)

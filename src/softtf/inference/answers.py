"""From inputs to answers in one pass: trunk once, each task inference once, and a top per task that is asked for."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from softtf.backbones.base import Tokens
from softtf.features import Queries
from softtf.inference.base import inference_named
from softtf.inference.policy import Policy
from softtf.learners.base import Learner
from softtf.shared_pass import SharedPass


@dataclass
class Clock:
    """Seconds by part of the work; waits for the device so that they are true."""

    device: torch.device
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the body to part `name`."""
        start = self._now()
        yield
        self.seconds[name] += self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@dataclass(frozen=True)
class Evidence:
    """What one pass over some samples found: their trunk tokens and each inference's scores [samples, tasks]."""

    trunk: Tokens
    scores: dict[str, Tensor]


@torch.no_grad()
def gather_evidence(
    learner: Learner,
    batches: Iterable[Tensor],
    inferences: Sequence[str],
    clock: Clock,
    known: Queries | None = None,
) -> Evidence:
    """Run the shared part and every task inference once per batch; batches bound the memory, not the answer.

    Args:
        learner: what answers.
        batches: prepared inputs.
        inferences: names of the task inferences.
        clock: is told the seconds of each part.
        known: the queries of all samples in the batches. Computing these took seconds that a deployed model takes as
            well, so the clock is told them, but for the stem's blocks, whose time is in the trunk's.
    """
    network = learner.network
    methods = {name: inference_named(name, learner) for name in inferences}
    trunks: list[Tokens] = []
    scores: dict[str, list[Tensor]] = {name: [] for name in inferences}
    done = 0
    if known is not None:
        clock.seconds["query"] += known.seconds * (1 - network.first_edited_block / network.backbone.depth)
    for inputs in batches:
        query = None if known is None else known.values[done : done + len(inputs)].to(inputs.device)
        done += len(inputs)
        shared = SharedPass(network, inputs, query)
        with clock.part("trunk"):
            _ = shared.stem
        if network.needs_query or any(method.needs_query for method in methods.values()):
            with clock.part("query"):
                _ = shared.query
        with clock.part("trunk"):
            trunks.append(shared.trunk)
        for name, method in methods.items():
            with clock.part(name):
                scores[name].append(method.scores(learner, shared))
    return Evidence(Tokens.cat(trunks), {name: torch.cat(parts) for name, parts in scores.items()})


def choose_tasks(policy: Policy, evidence: Evidence, groups: Tensor, given: Tensor | None) -> Tensor:
    """Return the task [samples] whose network answers for each sample under `policy`."""
    if policy.inference == "oracle":
        assert given is not None
        return given
    if policy.inference == "none":
        return torch.zeros_like(groups)
    return policy.choose(evidence.scores[policy.inference], groups)


@torch.no_grad()
def class_logits(learner: Learner, trunk: Tokens, tasks: Tensor, batch_size: int, clock: Clock) -> Tensor:
    """Return logits [samples, policies, classes seen] of the chosen tasks' networks, tasks [samples, policies].

    Samples are grouped by task at the top; a (sample, task) pair that several policies ask for is run once.
    """
    if not learner.answer_depends_on_task:
        tasks = torch.zeros_like(tasks)
    columns = learner.task_columns(learner.num_tasks - 1).stop
    logits = trunk.x.new_zeros(*tasks.shape, columns)
    with clock.part("answer"):
        for task in tasks.unique().tolist():
            asked = tasks == task
            for rows in asked.any(1).nonzero()[:, 0].split(batch_size):
                answer = learner.logits(trunk[rows], int(task)).to(logits.dtype)
                logits[rows] = torch.where(asked[rows][:, :, None], answer[:, None], logits[rows])
    return logits

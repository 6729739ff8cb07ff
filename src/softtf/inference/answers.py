"""From inputs to answers in one pass: the trunk once, each task inference once, and a top per task that answers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from softtf.backbones.base import Tokens
from softtf.devices.device import moved
from softtf.errors import UserError
from softtf.inference import INFERENCES
from softtf.inference.clock import Clock
from softtf.inference.policy import Policy
from softtf.inference.shortlist import scorer_of
from softtf.learners.base import Learner
from softtf.network import SharedPass


@dataclass(frozen=True)
class Evidence:
    """The result of one pass over samples: their trunk tokens and each inference's scores [samples, tasks]."""

    trunk: Tokens
    scores: dict[str, Tensor]


@torch.no_grad()
def gather_evidence(
    learner: Learner, passes: Iterable[SharedPass], inferences: Sequence[str], clock: Clock
) -> Evidence:
    """Run the trunk and every task inference once per batch; no answer depends on the batch.

    Args:
        learner: what answers.
        passes: one per batch, of the learner's network; what a pass has already is not computed.
        inferences: names of the task inferences, as `scorer_of` reads them.
        clock: gets the seconds of each part; loading is not timed.

    Raises:
        UserError: a score is not a number.
    """
    network = learner.network
    methods = {name: scorer_of(name, learner) for name in inferences}
    trunks: list[Tokens] = []
    scores: dict[str, list[Tensor]] = {name: [] for name in inferences}
    for shared in passes:
        reads_query = network.needs_query or any(method.needs_query for method in methods.values())
        if not shared.knows("trunk") or (reads_query and not shared.knows("query")):
            _ = shared.inputs
            with clock.part("trunk"):
                _ = shared.stem
        if reads_query:
            with clock.part("query"):
                _ = shared.query
        with clock.part("trunk"):
            trunks.append(shared.trunk)
        for name, method in methods.items():
            with clock.part(name):
                scores[name].append(method.scores(learner, shared))
    found = {name: torch.cat(parts) for name, parts in scores.items()}
    for values in found.values():
        _refuse_nan(values)
    return Evidence(Tokens.cat(trunks), found)


def _refuse_nan(values: Tensor) -> None:
    """Raise UserError if an answer is not a number, as with a damaged learner or a low precision."""
    if values.isnan().any():
        raise UserError(
            "an answer is not a number: the learner, or an input, has values that are too large for the precision; try"
            " float32, or load a learner that was not changed"
        )


@torch.no_grad()
def class_probabilities(
    learner: Learner, trunk: Tokens, weights: Tensor, within: Sequence[bool], batch_size: int, clock: Clock
) -> Tensor:
    """Return probabilities [samples, policies, classes seen]: the weighted mean of those of the tasks' networks.

    Samples are sorted by task, and those of different tasks share a pass above the trunk too: `Learner.logits_of_each`.
    A (sample, task) pair runs once, whichever policies need it.

    Args:
        learner: what answers.
        trunk: of all samples.
        weights: [samples, policies, tasks]; rows sum to 1.
        within: for each policy, whether a task's network is asked about that task's classes only.
        batch_size: samples run at once.
        clock: gets the seconds.

    Raises:
        UserError: a probability is not a number.
    """
    column_task = learner.column_tasks().to(trunk.x.device)
    weights = weights.to(trunk.x.dtype)
    probabilities = trunk.x.new_zeros(*weights.shape[:2], len(column_task))
    every = torch.arange(len(trunk), device=trunk.x.device)

    with clock.part("answer"):
        common = None
        if not learner.answer_depends_on_task:
            common = torch.cat([learner.logits(trunk[rows], 0) for rows in every.split(batch_size)])
        pairs = weights.any(1).cpu().nonzero()  # a GPU is waited for here alone, not for the tasks of each pass
        pairs = pairs[pairs[:, 1].argsort(stable=True)]
        for part in pairs.split(batch_size):
            rows, tasks = moved(part, trunk.x.device).unbind(1)
            found = learner.logits_of_each(trunk[rows], part[:, 1]) if common is None else common[rows]
            others = column_task != tasks[:, None]
            answers = {
                own: (found.masked_fill(others, -math.inf) if own else found).to(trunk.x.dtype).softmax(1)
                for own in set(within)
            }
            for policy, own in enumerate(within):
                share = weights[rows, policy, tasks, None] * answers[own]
                probabilities[:, policy].index_put_((rows,), share, accumulate=True)  # a sample may have several tasks
    _refuse_nan(probabilities)
    return probabilities


class Answered(NamedTuple):
    """What was answered: under each policy the probabilities, the share of each task's network, the named task.

    probabilities: [samples, policies, classes seen]. weights: [samples, policies, tasks]. tasks: [samples, policies].
    """

    probabilities: Tensor
    weights: Tensor
    tasks: Tensor


@torch.no_grad()
def answer(
    learner: Learner,
    passes: Iterable[SharedPass],
    policies: Sequence[Policy],
    members: Sequence[Tensor],
    batch_size: int,
    clock: Clock,
) -> Answered:
    """Answer for the samples of some passes under each policy.

    Args:
        learner: what answers.
        passes: as for `gather_evidence`.
        policies: what to answer by; they share the passes.
        members: for each policy, the group number of each sample [samples], from 0; a group pools its evidence.
        batch_size: samples run at once above the trunk.
        clock: gets the seconds.

    Raises:
        UserError: a score or a probability is not a number.
    """
    evidence = gather_evidence(learner, passes, sorted({p.evidence for p in policies}), clock)
    weights = [p.weights(evidence.scores[p.evidence], group) for p, group in zip(policies, members, strict=True)]
    shares, within = torch.stack(weights, 1), [p.within_task for p in policies]
    found = class_probabilities(learner, evidence.trunk, shares, within, batch_size, clock)
    by_task = torch.tensor([INFERENCES[p.inference].names_task for p in policies], device=shares.device)
    column_task = learner.column_tasks().to(shares.device)
    return Answered(found, shares, torch.where(by_task, shares.argmax(2), column_task[found.argmax(2)]))


def tops_needed(learner: Learner, weights: Tensor) -> Tensor:
    """Return the number of tops for weights [samples, policies, tasks], and for each policy alone: [1 + policies]."""
    asked = weights > 0
    if not learner.answer_depends_on_task:
        asked = asked.any(2, keepdim=True)
    return torch.cat([asked.any(1).sum()[None], asked.sum((0, 2))]).cpu()

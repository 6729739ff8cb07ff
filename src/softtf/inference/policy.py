"""A policy: a task inference, the samples that pool their evidence, and the classes that may be the answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from softtf.config.arguments import checked
from softtf.config.tree import Settings
from softtf.errors import UserError, unknown
from softtf.inference import INFERENCES, policies_of, unsupported
from softtf.inference.pooling import PER_SAMPLE, Pooling, parse_pooling
from softtf.inference.shortlist import MARK, statistics_for
from softtf.learners.base import Learner

BEST = "feature-id:top64:joint"  # by far the best per sample (docs/results.md); of up to 64 tasks, all are looked at
LIKELY = 0.99  # of the probability is held by the tasks whose networks answer together

Answer = Literal["any", "own", "joint"]
ANSWERS: dict[Answer, str] = {"any": "", "own": ", own classes", "joint": ", joint over tasks"}


@dataclass(frozen=True)
class Policy(Settings):
    """A task inference, the samples that pool their evidence, and the classes that may be the answer.

    Attributes:
        inference: the name of a task inference, such as `prompt-id`, `oracle` (the task is given) or `none` (the answer
            needs no task).
        pooling: which samples share one task.
        answer: `any`: any class seen so far, by the network of the inferred task (the published way). `own`: a class of
            the inferred task. `joint`: any class, without settling on one task: P(c|x) = P(t|x) P(c|x,t), where t is
            the task of class c, and its network gives P(c|x,t) over its own classes. The inference must give P(t|x)
            (`log_probabilities`). Only the networks of a sample's likely tasks run (`likely_tasks`), so an unsure
            sample costs more. P(t|x) has a temperature, fitted on held-out training examples. P(c|x,t) has none: on
            test images 1 was the best (docs/results-details.md).
        shortlist: how many tasks may be named for a sample: its best ones by the statistics of frozen features that the
            learner gathers (`softtf.inference.shortlist`). None: all. It is made for each sample alone, so nothing may
            be pooled.

    Raises:
        UserError: there is no such inference, or the three do not fit together.
    """

    inference: str
    pooling: Pooling = PER_SAMPLE
    answer: Answer = "any"
    shortlist: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = INFERENCES.get(self.inference)
        if kind is None:
            raise unknown("policy", self.inference, INFERENCES, imports=True)
        if not kind.pools and (self.pooling != PER_SAMPLE or self.answer != "any"):
            raise UserError(
                f"policy {self.code!r}: {self.inference} pools nothing and chooses the classes itself; write"
                f" {self.inference!r} alone"
            )
        if self.answer == "joint" and not kind.log_probabilities:
            able = [name for name, other in INFERENCES.items() if other.log_probabilities]
            raise UserError(
                f"policy {self.code!r}: :joint goes with {', '.join(able)}, whose scores are log P(t|x); if those of"
                f" {self.inference} are, set log_probabilities = True in its class"
            )
        if self.answer == "joint" and self.pooling.vote:
            raise UserError(f"policy {self.code!r}: a vote names one task, and :joint weighs several; leave one out")
        if self.shortlist is not None and (self.shortlist < 1 or self.pooling != PER_SAMPLE or not kind.pools):
            raise UserError(
                f"policy {self.code!r}: a shortlist is of 1 task or more, by a task inference, for samples alone; write"
                f" for example prompt-id:top16 or feature-id:top16:joint"
            )

    @property
    def within_task(self) -> bool:
        """Whether a task's network is asked about that task's classes only."""
        return self.answer != "any" or INFERENCES[self.inference].own_classes

    @property
    def code(self) -> str:
        """The short form that `parse_policy` reads."""
        answer = "" if self.answer == "any" else self.answer
        return ":".join(filter(None, [self.evidence, self.pooling.code, answer]))

    @property
    def evidence(self) -> str:
        """What gives its scores, as `scorer_of` reads it; policies that differ in other things share it."""
        return self.inference if self.shortlist is None else f"{self.inference}{MARK}{self.shortlist}"

    @property
    def needs_query(self) -> bool:
        """Whether its scores read the query."""
        return self.shortlist is not None or INFERENCES[self.inference].needs_query

    def title(self, shuffled: bool = False) -> str:
        """The form for table headers, with the policy spelled out."""
        kind = INFERENCES[self.inference]
        among = "" if self.shortlist is None else f" among {self.shortlist}"
        pooled = f"{among}, {self.pooling.title(shuffled)}{ANSWERS[self.answer]}" if kind.pools else ""
        return kind.title + pooled

    def weights(self, scores: Tensor, groups: Tensor) -> Tensor:
        """Return the share of each task's network in each sample's answer, [n, tasks]; rows sum to 1.

        The named task's network has the whole share, except for a joint answer: there the shares are P(t|x) of the
        likely tasks. A group's P(t|x) is the normalised product of its samples'. The largest share is that of the task
        named.
        """
        return self.shares(self.pooling.pooled(scores, groups))

    def shares(self, pooled: Tensor) -> Tensor:
        """Return `weights` for scores [n, tasks] that are pooled already."""
        if self.answer == "joint":
            return likely_tasks(pooled.softmax(1))
        return one_hot(pooled.argmax(1), pooled.shape[1]).float()


def usual_policy(supported: Sequence[str]) -> str:
    """Return the code of the first way to answer of those that a learner supports (`Learner.policies`).

    Where its answer needs no task, naming one can only restrict the answer to that task's classes.
    """
    first = supported[0]
    if "none" in supported:
        return first if first == "none" else f"{first}:own"
    return BEST if first == "feature-id" else first


def likely_tasks(probabilities: Tensor) -> Tensor:
    """Keep of each row [n, tasks] the largest entries, as few as hold `LIKELY`, and make their sum 1; the others are 0.

    Among equal entries the earlier tasks' are kept.
    """
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    kept = torch.where(ordered.cumsum(1) - ordered < LIKELY, ordered, 0)
    return torch.zeros_like(probabilities).scatter_(1, order, kept / kept.sum(1, keepdim=True))


@checked
def parse_policy(text: str) -> Policy:
    """Read `gradient-id`, `prompt-id:vote24`, `gradient-id:3-shot/24:own`, `feature-id:top9:joint`, `oracle` and so on.

    Raises:
        UserError: the inference or the form is unknown, a number is out of range, or the parts do not fit together.
    """
    name, *parts = text.strip().lower().split(":")
    answer: Answer = "own" if parts[-1:] == ["own"] else "joint" if parts[-1:] == ["joint"] else "any"
    written = parts if answer == "any" else parts[:-1]
    listed = re.fullmatch(r"top(\d{1,6})", written[0]) if written else None
    written = written[1:] if listed else written
    pooling = parse_pooling(written[0]) if len(written) == 1 else None if written else PER_SAMPLE
    if name in INFERENCES and parts and not INFERENCES[name].pools:
        raise UserError(f"policy {text!r}: {name} pools nothing; write {name!r} alone")
    if name in INFERENCES and pooling is None:
        raise UserError(
            f"policy {text!r} is not understood; write for example {name}, {name}:batch24, {name}:vote24,"
            f" {name}:3-shot/24, {name}:top16 or {name}:own"
        )
    return Policy(name, pooling or PER_SAMPLE, answer, int(listed[1]) if listed else None)


def policy_of(text: str, learner: Learner) -> Policy:
    """Read a policy, and check that a learner supports it.

    Raises:
        UserError: as `parse_policy`, or the learner does not support the inference or the shortlist.
    """
    policy = parse_policy(text)
    if policy.inference not in policies_of(learner):
        raise unsupported(policy.inference, learner)
    if policy.shortlist is not None:
        statistics_for(learner)
    return policy

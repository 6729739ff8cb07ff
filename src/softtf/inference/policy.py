"""Whose evidence is pooled before a task is named: the policy that every number must be printed with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from softtf.config.names import PAPER_BATCH
from softtf.errors import UserError, unknown
from softtf.inference import INFERENCES, policies_of, unsupported
from softtf.learners.base import Learner

LARGEST_GROUP = 1_000_000
LIKELY = 0.99  # of the probability is held by the tasks whose networks answer together


@dataclass(frozen=True)
class Policy:
    """A task inference, the samples that share one task, and the classes that the answer is chosen from.

    Usually one task is named and its network answers. With `joint` no task is settled on: P(c|x) = P(t|x) P(c|x,t),
    class c being one of task t's, and P(c|x,t) what t's network says of its own classes alone. (P(t|x) has a
    temperature, fitted on examples that its statistics had not seen; P(c|x,t) has none: a task's head was trained on
    all that the task has, and on test images 1 was its best, docs/results.md.) For each sample the networks of its
    likely tasks are run (`likely_tasks`: the fewest that hold 99% of P(t|x)), so that the cost grows with the doubt.

    inference: `prompt-id`, `gradient-id`, ..., `oracle` (the task is given) or `none` (the answer needs no task).
    group: how many consecutive test samples share one task; 1 is per-sample, the honest default. shots: of
    each group only the first so many are evidence (the paper's n-shot). vote: each sample of a group has one vote for
    its own best task, and the majority is named, as the published code does for Prompt ID; otherwise scores are summed,
    as it does for Gradient ID (the mean of entropies), which names more tasks right. own: answer with a class of the
    inferred task; otherwise with any class seen so far, by the inferred task's network (the published way). joint:
    weigh the classes of all tasks by P(t|x), which the inference must give (`log_probabilities`); the likeliest task
    is named.
    """

    inference: str
    group: int = 1
    shots: int | None = None
    own: bool = False
    joint: bool = False
    vote: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.group <= LARGEST_GROUP or (self.shots is not None and not 1 <= self.shots <= self.group):
            raise UserError(
                f"a group of {self.group} with {self.shots} shots cannot be; 1 <= shots <= group <= {LARGEST_GROUP}"
            )
        if self.vote and (self.group == 1 or self.shots is not None or self.joint):
            raise UserError("a vote needs a group of at least 2, all of whose members have one, and names one task")
        able = [name for name, kind in INFERENCES.items() if kind.log_probabilities]
        if self.joint and (self.own or self.inference not in able):
            raise UserError(
                f"policy {self.code!r}: tasks can be weighed where the inference gives their probabilities, and then"
                f" without :own; :joint goes with {', '.join(able)}"
            )

    @property
    def within_task(self) -> bool:
        """Whether a task's network is asked about that task's classes only."""
        return self.own or self.joint or self.inference == "oracle"

    @property
    def code(self) -> str:
        """The short form that `parse_policy` reads."""
        pooling = "" if self.group == 1 else f":{'vote' if self.vote else 'batch'}{self.group}"
        if self.shots is not None:
            pooling = f":{self.shots}-shot/{self.group}"
        return f"{self.inference}{pooling}{':own' if self.own else ''}{':joint' if self.joint else ''}"

    def title(self, shuffled: bool = False) -> str:
        """The form for table headers, with the policy spelled out."""
        if self.inference == "oracle":
            return "oracle (task given)"
        if self.inference == "none":
            return "no task needed, per-sample"
        pooling = f"{'shuffled' if shuffled else 'same-task'} batch({self.group})" if self.group > 1 else "per-sample"
        if self.shots is not None:
            pooling = f"{self.shots}-shot of {pooling}"
        if self.vote:
            pooling = f"majority of {pooling}"
        classes = ", own classes" if self.own else ", joint over tasks" if self.joint else ""
        return f"{INFERENCES[self.inference].title}, {pooling}{classes}"

    def choose(self, scores: Tensor, groups: Tensor) -> Tensor:
        """Return the task [n] of each sample: argmax of its group's scores; arguments as for `pooled`."""
        return self.pooled(scores, groups).argmax(1)

    def weights(self, scores: Tensor, groups: Tensor) -> Tensor:
        """Return P(t|x) [n, tasks] of the likely tasks, 0 for the others; arguments as for `pooled`.

        A group's is the product of its samples', normalised: each is evidence of its own for the task they share.
        """
        assert self.joint
        return likely_tasks(self.pooled(scores, groups).softmax(1))

    def pooled(self, scores: Tensor, groups: Tensor) -> Tensor:
        """Return each sample's scores summed over its group, or its group's votes, [n, tasks] in float64.

        Of tasks with equally many votes, the one whose scores sum to more is ahead by less than a vote.

        scores: [n, tasks]; groups: [n], group numbers from 0, each group's members in order.
        """
        evidence = scores.double()
        if self.shots is not None:
            evidence = evidence * (rank_in_group(groups) < self.shots).to(evidence)[:, None]
        pooled = sum_in_groups(evidence, groups)
        if self.vote:
            votes = one_hot(scores.argmax(1), scores.shape[1]).to(evidence)
            return sum_in_groups(votes, groups) + pooled.softmax(1) / 2
        return pooled


def usual_policy(supported: Sequence[str]) -> str:
    """Return the code of the first way to answer of those that a learner supports (`Learner.policies`).

    Where its answer needs no task, naming one can only restrict the answer to that task's classes.
    """
    first = supported[0]
    return f"{first}:own" if first != "none" and "none" in supported else first


def sum_in_groups(values: Tensor, groups: Tensor) -> Tensor:
    """Return for each sample the sum over its group of values [n, ...]."""
    total = torch.zeros(int(groups.max()) + 1, *values.shape[1:], dtype=values.dtype, device=values.device)
    return total.index_add_(0, groups, values)[groups]


def likely_tasks(probabilities: Tensor) -> Tensor:
    """Keep of each row [n, tasks] the largest entries, as few as hold `LIKELY`, and make their sum 1; the others are 0.

    Of equal entries the earlier tasks' are kept.
    """
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    kept = torch.where(ordered.cumsum(1) - ordered < LIKELY, ordered, 0)
    return torch.zeros_like(probabilities).scatter_(1, order, kept / kept.sum(1, keepdim=True))


def rank_in_group(groups: Tensor) -> Tensor:
    """Return how many earlier samples share each sample's group, [n]."""
    order = torch.argsort(groups, stable=True)
    sorted_groups = groups[order]
    start = torch.searchsorted(sorted_groups, sorted_groups)
    ranks = torch.empty_like(groups)
    ranks[order] = torch.arange(len(groups), device=groups.device) - start
    return ranks


def parse_policy(text: str) -> Policy:
    """Read `gradient-id`, `prompt-id:vote24`, `gradient-id:3-shot/24:own`, `feature-id:joint`, `oracle` and so on.

    Raises:
        UserError: the inference or the form is unknown, a number is out of range, or `:joint` does not fit.
    """
    name, *parts = text.strip().lower().split(":")
    if name not in (*INFERENCES, "oracle", "none"):
        raise unknown("policy", name, [*INFERENCES, "oracle"], imports=True)
    own, joint = parts[-1:] == ["own"], parts[-1:] == ["joint"]
    pooling = parts[: len(parts) - (own or joint)] or ["per-sample"]
    if name in ("oracle", "none") and parts:
        raise UserError(f"policy {text!r}: {name} pools nothing; write {name!r} alone")
    if pooling == ["per-sample"]:
        return Policy(name, own=own, joint=joint)
    batch = re.fullmatch(r"(batch|vote)[( ]?(\d+)\)?", pooling[0])
    shot = re.fullmatch(r"(\d+)-shot(?:/(\d+))?", pooling[0])
    if len(pooling) == 1 and batch and int(batch[2]) >= 1:
        vote = batch[1] == "vote" and int(batch[2]) > 1  # one alone is its own majority
        return Policy(name, int(batch[2]), own=own, joint=joint, vote=vote)
    if len(pooling) == 1 and shot:
        shots, group = int(shot[1]), int(shot[2] or PAPER_BATCH)
        if 1 <= shots <= group:
            return Policy(name, group, shots, own, joint)
    raise UserError(
        f"policy {text!r} is not understood; write for example {name}, {name}:batch24, {name}:vote24,"
        f" {name}:3-shot/24 or {name}:own"
    )


def policy_of(text: str, learner: Learner) -> Policy:
    """Read a policy that a learner is to answer by.

    Raises:
        UserError: as `parse_policy`, or the learner does not support the inference.
    """
    policy = parse_policy(text)
    if policy.inference not in (*policies_of(learner), "oracle"):
        raise unsupported(policy.inference, learner)
    return policy

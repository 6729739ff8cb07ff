"""Whose evidence is pooled before a task is named: the policy that every number must be printed with."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.errors import UserError, unknown
from softtf.inference import INFERENCES

LARGEST_GROUP = 1_000_000
PAPER_BATCH = 24  # the batch in which the published evaluation shares one vote


@dataclass(frozen=True)
class Policy:
    """A task inference, the samples that share one task, and the classes that the answer is chosen from.

    inference: `prompt-id`, `gradient-id`, ..., `oracle` (the task is given) or `none` (the answer needs no task).
    group: how many consecutive test samples share one task; 1 is per-sample, the honest default. shots: of
    each group only the first so many are evidence (the paper's n-shot). own: answer with a class of the inferred
    task; otherwise with any class seen so far, by the inferred task's network (the published way).
    """

    inference: str
    group: int = 1
    shots: int | None = None
    own: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.group <= LARGEST_GROUP or (self.shots is not None and not 1 <= self.shots <= self.group):
            raise UserError(
                f"a group of {self.group} with {self.shots} shots cannot be; 1 <= shots <= group <= {LARGEST_GROUP}"
            )

    @property
    def within_task(self) -> bool:
        """Whether only the chosen task's classes can be the answer."""
        return self.own or self.inference == "oracle"

    @property
    def code(self) -> str:
        """The short form that `parse_policy` reads."""
        pooling = "" if self.group == 1 else f":batch{self.group}"
        if self.shots is not None:
            pooling = f":{self.shots}-shot/{self.group}"
        return f"{self.inference}{pooling}{':own' if self.own else ''}"

    def title(self, shuffled: bool = False) -> str:
        """The form for table headers, with the policy spelled out."""
        if self.inference == "oracle":
            return "oracle (task given)"
        if self.inference == "none":
            return "no task needed, per-sample"
        pooling = f"{'shuffled' if shuffled else 'same-task'} batch({self.group})" if self.group > 1 else "per-sample"
        if self.shots is not None:
            pooling = f"{self.shots}-shot of {pooling}"
        return f"{INFERENCES[self.inference].title}, {pooling}{', own classes' if self.own else ''}"

    def choose(self, scores: Tensor, groups: Tensor) -> Tensor:
        """Return the task [n] of each sample: argmax of the scores pooled within its group.

        scores: [n, tasks]; groups: [n], group numbers from 0, each group's members in order.
        """
        evidence = scores.double()
        if self.shots is not None:
            evidence = evidence * (rank_in_group(groups) < self.shots).to(evidence)[:, None]
        count = int(groups.max()) + 1
        pooled = torch.zeros(count, scores.shape[1], dtype=evidence.dtype, device=scores.device)
        return pooled.index_add_(0, groups, evidence).argmax(1)[groups]


def rank_in_group(groups: Tensor) -> Tensor:
    """Return how many earlier samples share each sample's group, [n]."""
    order = torch.argsort(groups, stable=True)
    sorted_groups = groups[order]
    start = torch.searchsorted(sorted_groups, sorted_groups)
    ranks = torch.empty_like(groups)
    ranks[order] = torch.arange(len(groups), device=groups.device) - start
    return ranks


def parse_policy(text: str) -> Policy:
    """Read `gradient-id`, `prompt-id:batch24`, `gradient-id:3-shot`, `gradient-id:3-shot/24:own` or `oracle`.

    Raises:
        UserError: the inference or the form is unknown, or a number is out of range.
    """
    name, *parts = text.strip().lower().split(":")
    if name not in (*INFERENCES, "oracle", "none"):
        raise unknown("policy", name, [*INFERENCES, "oracle"])
    own = parts[-1:] == ["own"]
    pooling = parts[: len(parts) - own] or ["per-sample"]
    if name in ("oracle", "none") and parts:
        raise UserError(f"policy {text!r}: {name} pools nothing; write {name!r} alone")
    if pooling == ["per-sample"]:
        return Policy(name, own=own)
    batch = re.fullmatch(r"batch[( ]?(\d+)\)?", pooling[0])
    shot = re.fullmatch(r"(\d+)-shot(?:/(\d+))?", pooling[0])
    if len(pooling) == 1 and batch and int(batch[1]) >= 1:
        return Policy(name, int(batch[1]), own=own)
    if len(pooling) == 1 and shot:
        shots, group = int(shot[1]), int(shot[2] or PAPER_BATCH)
        if 1 <= shots <= group:
            return Policy(name, group, shots, own)
    raise UserError(
        f"policy {text!r} is not understood; write for example {name}, {name}:batch24, {name}:3-shot/24 or {name}:own"
    )

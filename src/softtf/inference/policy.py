"""Whose evidence is pooled before a task is named: the policy that every number must be printed with."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.errors import UserError, unknown
from softtf.inference import INFERENCES

PAPER_BATCH = 24  # the batch in which the published evaluation shares one vote


@dataclass(frozen=True)
class Policy:
    """A task inference and the samples that share one answer.

    inference: `prompt-id`, `gradient-id`, ..., `oracle` (the task is given) or `none` (the answer needs no task).
    group: how many consecutive test samples share one answer; 1 is per-sample, the honest default. shots: of
    each group only the first so many are evidence (the paper's n-shot).
    """

    inference: str
    group: int = 1
    shots: int | None = None

    @property
    def code(self) -> str:
        """The short form that `parse_policy` reads."""
        if self.shots is not None:
            return f"{self.inference}:{self.shots}-shot/{self.group}"
        return self.inference if self.group == 1 else f"{self.inference}:batch{self.group}"

    def title(self, shuffled: bool = False) -> str:
        """The form for table headers, with the policy spelled out."""
        if self.inference == "oracle":
            return "oracle (task given)"
        if self.inference == "none":
            return "no task needed, per-sample"
        name = INFERENCES[self.inference].title
        if self.group == 1:
            return f"{name}, per-sample"
        batch = f"shuffled batch({self.group})" if shuffled else f"same-task batch({self.group})"
        return f"{name}, {batch}" if self.shots is None else f"{name}, {self.shots}-shot of {batch}"

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
    """Read `gradient-id`, `prompt-id:batch24`, `gradient-id:3-shot`, `gradient-id:3-shot/24` or `oracle`.

    Raises:
        UserError: the inference or the form is unknown, or a number is out of range.
    """
    name, _, pooling = text.strip().lower().partition(":")
    if name not in (*INFERENCES, "oracle", "none"):
        raise unknown("policy", name, [*INFERENCES, "oracle"])
    if not pooling or pooling == "per-sample":
        return Policy(name)
    if name in ("oracle", "none"):
        raise UserError(f"policy {text!r}: {name} pools nothing; write {name!r} alone")
    batch = re.fullmatch(r"batch[( ]?(\d+)\)?", pooling)
    shot = re.fullmatch(r"(\d+)-shot(?:/(\d+))?", pooling)
    if batch and int(batch[1]) >= 1:
        return Policy(name, int(batch[1]))
    if shot:
        shots, group = int(shot[1]), int(shot[2] or PAPER_BATCH)
        if 1 <= shots <= group:
            return Policy(name, group, shots)
    raise UserError(
        f"policy {text!r} is not understood; write for example {name}, {name}:batch24 or {name}:3-shot/24"
    )

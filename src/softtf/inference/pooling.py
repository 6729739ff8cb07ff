"""Which samples pool their evidence."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from softtf.config.names import PAPER_BATCH
from softtf.config.tree import Settings
from softtf.errors import UserError

LARGEST_GROUP = 1_000_000


@dataclass(frozen=True)
class Pooling(Settings):
    """Groups of samples that share one task, and how the evidence of a group is combined.

    Scores are summed, as the published code does for Gradient ID (the mean of entropies), or each sample votes.

    Attributes:
        group: how many consecutive samples share one task. 1 is per-sample, the honest default.
        shots: only the first so many samples of each group are evidence (the paper's n-shot). None: all are.
        vote: each sample votes for its best task, and the majority wins, as the published code does for Prompt ID.

    Raises:
        UserError: the numbers do not fit together.
    """

    group: int = 1
    shots: int | None = None
    vote: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.group <= LARGEST_GROUP or (self.shots is not None and not 1 <= self.shots <= self.group):
            raise UserError(
                f"a group of {self.group} with {self.shots} shots cannot be; 1 <= shots <= group <= {LARGEST_GROUP}"
            )
        if self.vote and (self.group == 1 or self.shots is not None):
            raise UserError("a vote needs a group of at least 2, all of whose samples vote")

    @property
    def code(self) -> str:
        """The short form that `parse_pooling` reads; empty for per-sample."""
        if self.shots is not None:
            return f"{self.shots}-shot/{self.group}"
        return "" if self.group == 1 else f"{'vote' if self.vote else 'batch'}{self.group}"

    def title(self, shuffled: bool = False) -> str:
        """The form for table headers; `shuffled`: whether the samples of a group are of any task."""
        title = f"{'shuffled' if shuffled else 'same-task'} batch({self.group})" if self.group > 1 else "per-sample"
        if self.shots is not None:
            return f"{self.shots}-shot of {title}"
        return f"majority of {title}" if self.vote else title

    def groups(self, count: int) -> Tensor:
        """Return the group numbers [count] of consecutive samples; callers may give other groups."""
        return torch.arange(count) // self.group

    def pooled(self, scores: Tensor, groups: Tensor) -> Tensor:
        """Return each sample's scores summed over its group, or its group's votes, [n, tasks] in float64.

        A tie in votes goes to the larger sum of scores, which counts for less than one vote.

        scores: [n, tasks]; groups: [n], group numbers from 0, each group's samples in order.
        """
        evidence = scores.double()
        if self.shots is not None:
            evidence = evidence * (rank_in_group(groups) < self.shots).to(evidence)[:, None]
        pooled = sum_in_groups(evidence, groups)
        if self.vote:
            votes = one_hot(scores.argmax(1), scores.shape[1]).to(evidence)
            return sum_in_groups(votes, groups) + pooled.softmax(1) / 2
        return pooled


PER_SAMPLE = Pooling()


def parse_pooling(text: str) -> Pooling | None:
    """Read `per-sample`, `batch24`, `vote24`, `3-shot` or `3-shot/16`; None if the text is none of these."""
    if text == "per-sample":
        return PER_SAMPLE
    batch = re.fullmatch(r"(batch|vote)[( ]?(\d{1,9})\)?", text)
    if batch and int(batch[2]) >= 1:
        return Pooling(int(batch[2]), vote=batch[1] == "vote" and int(batch[2]) > 1)  # one alone is its own majority
    shot = re.fullmatch(r"(\d{1,9})-shot(?:/(\d{1,9}))?", text)
    if shot and 1 <= int(shot[1]) <= int(shot[2] or PAPER_BATCH):
        return Pooling(int(shot[2] or PAPER_BATCH), int(shot[1]))
    return None


def sum_in_groups(values: Tensor, groups: Tensor) -> Tensor:
    """Return for each sample the sum over its group of values [n, ...]."""
    total = torch.zeros(int(groups.max()) + 1, *values.shape[1:], dtype=values.dtype, device=values.device)
    return total.index_add_(0, groups, values)[groups]


def rank_in_group(groups: Tensor) -> Tensor:
    """Return how many earlier samples share each sample's group, [n]."""
    order = torch.argsort(groups, stable=True)
    sorted_groups = groups[order]
    start = torch.searchsorted(sorted_groups, sorted_groups)
    ranks = torch.empty_like(groups)
    ranks[order] = torch.arange(len(groups), device=groups.device) - start
    return ranks

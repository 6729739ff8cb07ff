"""What each task added to sums: kept separately, so that the sums of any tasks equal those of a learner of these alone.

A total is always the sum over shares in the order of their tasks. So taking a share out gives the same bits as never
learning the task, and putting another learner's share in gives the same bits as learning its task.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Share(NamedTuple):
    """What one task added, or several tasks whose sums are kept as one.

    Attributes:
        tensors: by name; labels are numbered from 0 in the order of the share's own columns (`local_numbers`).
        labels: [columns], the label number, among all known labels, of each of its columns.
    """

    tensors: Mapping[str, Tensor]
    labels: Tensor


def local_numbers(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different labels [k] in the order of first appearance, and the place there of each [columns]."""
    places: dict[int, int] = {}
    local = torch.tensor([places.setdefault(label, len(places)) for label in labels.tolist()], dtype=torch.int64)
    return torch.tensor(list(places), dtype=torch.int64), local


def own_share(before: Sequence[Share], columns: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the newest task's examples [n] and labels [its columns] as its own share numbers them.

    Args:
        before: the shares of the tasks before.
        columns: [n], the logit column of each example.
        labels: [columns so far], the label number of each column.
    """
    first = len(all_labels(before))
    return columns - first, labels[first:]


def all_labels(shares: Sequence[Share]) -> Tensor:
    """Return the label number of each column of all shares, [columns]."""
    return torch.cat([torch.zeros(0, dtype=torch.int64), *(share.labels for share in shares)])


def joined_columns(one: Share, more: Share) -> dict[str, Tensor]:
    """Return `counts` and `labels` of a share to which another of the same task is added.

    Args:
        one: of a task.
        more: of more examples of it; its labels are places among the columns of `one`.
    """
    return {**one.tensors, "counts": one.tensors["counts"].index_add(0, more.labels, more.tensors["counts"])}


def side_by_side(shares: Sequence[Share], name: str) -> Tensor:
    """Return a tensor that each share has, concatenated over shares."""
    return torch.cat([share.tensors[name] for share in shares])

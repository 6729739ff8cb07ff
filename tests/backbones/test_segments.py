"""Runs of a sorted batch; the law of mixed tasks (contracts/test_mixed_tasks_law.py) is what they are for."""

import torch

from softtf.backbones.base import BlockEdit
from softtf.backbones.edits import side_by_side
from softtf.backbones.segments import SegmentedWeight, segments_of


def test_the_runs_cover_the_batch() -> None:
    assert segments_of(torch.tensor([0, 0, 3, 5, 5, 5])) == [(slice(0, 2), 0), (slice(2, 3), 3), (slice(3, 6), 5)]
    assert segments_of(torch.tensor([4])) == [(slice(0, 1), 4)]
    assert segments_of(torch.empty(0, dtype=torch.int64)) == []


def test_each_run_is_multiplied_by_its_own_weight() -> None:
    weights = torch.randn(3, 6, 4, dtype=torch.float64)
    x, bias = torch.randn(5, 2, 4, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    tasks = torch.tensor([0, 0, 1, 2, 2])
    product = SegmentedWeight(segments_of(tasks), lambda task, rows: weights[task][rows])
    expected = torch.einsum("bni,boi->bno", x, weights[tasks]) + bias
    torch.testing.assert_close(product.apply(x, bias, slice(None)), expected)
    torch.testing.assert_close(product.apply(x, bias[2:], slice(2, None)), expected[..., 2:])


def test_edits_of_runs_stand_side_by_side() -> None:
    prefixes = torch.randn(2, 1, 2, 3, 4)
    edits = [
        BlockEdit({}, prefixes[i], {"proj": lambda x, y, i=i: y + (i + 1) * x}, lambda s, i=i: (i + 1) * s)
        for i in range(2)
    ]
    together = side_by_side(edits, [slice(0, 2), slice(2, 3)])
    assert together.prefix is not None and torch.equal(together.prefix, prefixes[[0, 0, 1], 0])
    x, y = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    factors = torch.tensor([1.0, 1, 2])[:, None, None]
    assert torch.equal(together.outputs["proj"](x, y), y + factors * x)
    assert together.gate is not None and torch.equal(together.gate(x), factors * x)

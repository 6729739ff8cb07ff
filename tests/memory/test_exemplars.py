"""Exemplars as tensors and back."""

import pytest
import torch

from contracts.tiny import noise, pictures
from softtf.memory import pack, unpack

SIZES = ((4, 5), (7, 2), (1, 1))


@pytest.mark.parametrize(
    "examples",
    [
        [image[:, :h, :w] for image, (h, w) in zip(pictures(3).permute(0, 3, 1, 2), SIZES, strict=True)],
        [noise(3), noise(5), noise(1)],
        [torch.arange(12).view(3, 4)],
        [],
    ],
    ids=["images", "rows", "one", "none"],
)
def test_packed_and_unpacked_are_the_same(examples: list[torch.Tensor]) -> None:
    memory = pack("kept", examples) | {"other": torch.ones(1)}
    again = unpack("kept", memory)
    assert len(again) == len(examples)
    for ours, theirs in zip(again, examples, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    assert unpack("missing", memory) == []

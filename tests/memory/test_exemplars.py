"""Exemplars as tensors and back."""

import pytest
import torch

from softtf.memory import OnDevice, concatenate, separate
from support.tiny import noise, pictures
from support.tracing import Traced

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
    memory = concatenate("kept", examples) | {"other": torch.ones(1)}
    again = separate("kept", memory)
    assert len(again) == len(examples)
    for ours, theirs in zip(again, examples, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    assert separate("missing", memory) == []


@pytest.mark.parametrize("rows", [[2, 0, 2], [1], []])
def test_some_examples_are_those_of_all(rows: list[int]) -> None:
    memory = concatenate("kept", [noise(3, 4), noise(5, 1), noise(1, 2)])
    every, some = separate("kept", memory), separate("kept", memory, torch.tensor(rows, dtype=torch.int64))
    assert len(some) == len(rows)
    assert all(torch.equal(found, every[i]) for found, i in zip(some, rows, strict=True))
    assert separate("missing", memory, torch.tensor(rows)) == []


def test_a_few_examples_cost_as_much_of_many_as_of_few() -> None:
    def cost(count: int) -> int:
        memory = concatenate("kept", [noise(3)] * count)
        with Traced() as traced:
            separate("kept", memory, torch.tensor([1, 4]))
        return traced.operations

    assert cost(400) == cost(20)


def test_a_copy_is_made_once_for_each_tensor_device_and_type() -> None:
    here, memory = OnDevice(), {"keys": noise(6, 2), "columns": torch.arange(6)}
    assert here.get("keys", memory, noise(1)) is memory["keys"], "nothing to copy"
    single = here.get("keys", memory, noise(1).float())
    assert single.dtype == torch.float32 and torch.equal(single, memory["keys"].float())
    assert here.get("keys", memory, noise(1).float()) is single
    assert here.get("columns", memory, noise(1).float()) is memory["columns"], "whole numbers keep their type"
    assert here.get("keys", memory, torch.empty(0, device="meta")).device.type == "meta"
    replaced = memory | {"keys": noise(3, 2)}
    assert torch.equal(here.get("keys", replaced, noise(1).float()), replaced["keys"].float())

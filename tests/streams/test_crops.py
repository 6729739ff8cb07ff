"""Boxes go to the device in one copy, as they are; there the weights of a crop are made."""

from dataclasses import fields

import pytest
import torch

from softtf.streams import crops
from softtf.streams.crops import Boxes, _weights, centre_boxes, draw, random_boxes

SIDES = torch.tensor([7, 9, 5])


def boxes() -> Boxes:
    return random_boxes(draw(3, torch.Generator().manual_seed(0)), SIDES, SIDES + 2, (0.1, 1.0), flip=True)


def test_boxes_are_the_same_on_the_device_and_go_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[torch.device] = []
    monkeypatch.setattr(crops, "moved", lambda tensor, device: (moves.append(device), tensor)[1])
    for one in (boxes(), centre_boxes(SIDES, SIDES + 2, 6, 4)):
        there = one.on(torch.device("cuda"))
        for field in fields(Boxes):
            before, after = getattr(one, field.name), getattr(there, field.name)
            assert torch.equal(before, after) and before.dtype == after.dtype
    assert moves == [torch.device("cuda")] * 2


def test_the_weights_of_a_crop_are_made_where_its_box_is() -> None:
    there = boxes().on(torch.device("meta"))
    assert _weights(there.top, there.height, there.low_y, there.high_y, 4, 9).device.type == "meta"

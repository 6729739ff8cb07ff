"""What goes to a GPU is copied from pinned memory, without waiting; elsewhere nothing is done that is not needed."""

from typing import Any

import torch

from softtf.devices.device import moved


class Recording:
    """A tensor of the CPU's that notes what is done with it."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.done: list[Any] = []

    def pin_memory(self) -> "Recording":
        self.done.append("pinned")
        return self

    def to(self, device: str, non_blocking: bool = False) -> "Recording":
        self.done.append((device, non_blocking))
        return self


def test_a_copy_to_a_gpu_is_pinned_and_nobody_waits_for_it() -> None:
    tensor: Any = Recording()
    assert moved(tensor, "cuda:1").done == ["pinned", ("cuda:1", True)]


def test_elsewhere_nothing_is_copied_that_is_there_already() -> None:
    tensor = torch.arange(3)
    assert moved(tensor, "cpu") is tensor

"""The check of adaptations finds what breaks a law, and names it."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf.adaptations import Adaptation, AdaptationSpec, slot_key, weight_shapes
from softtf.backbones import Backbone
from softtf.testing import check_adaptation


@dataclass(frozen=True)
class Follower(AdaptationSpec):
    """Scales a layer's output; `wrong` says what of it is wrong. The last block's qkv is among the layers."""

    wrong: str = ""

    def build(self, backbone: Backbone) -> list[Adaptation]:
        return [Followers(weight_shapes("3-4", "qkv,fc2", backbone, "follower"), self.wrong)]


class Followers(Adaptation):
    def __init__(self, shapes: dict[tuple[int, str], torch.Size], wrong: str) -> None:
        super().__init__()
        self.shapes, self.wrong = shapes, wrong
        self.task_blocks = frozenset(block for block, _ in shapes)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {slot_key(b, n): torch.ones(shape[0]) for (b, n), shape in self.shapes.items()}

    def follows(self, block: int, name: str) -> bool:
        return (block, name) in self.shapes

    def after(self, block: int, name: str, x: Tensor, selection: Any) -> Tensor:
        scales = torch.stack([self.value(t, slot_key(block, name)) for t in range(self.num_tasks)]).to(x)
        if selection.task is not None:
            return x * scales[0 if self.wrong == "task" else selection.task]
        mixture = selection.mixture.to(x)
        mixture = mixture.detach() if self.wrong == "gradient" else mixture
        x = x - x.mean(0) if self.wrong == "neighbours" else x
        return x * (mixture @ scales)[:, None]


def test_what_follows_the_last_blocks_qkv_is_lawful() -> None:
    check_adaptation(Follower())


@pytest.mark.parametrize("wrong", ["task", "gradient", "neighbours"])
def test_an_adaptation_that_breaks_a_law_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, RuntimeError), match="law broken|grad"):
        check_adaptation(Follower(wrong))

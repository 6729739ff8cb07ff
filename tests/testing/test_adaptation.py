"""The check of adaptations finds what breaks a law, and names it."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf.adaptations import Adaptation, AdaptationSpec, Site, slot_key, weight_shapes
from softtf.backbones import Backbone
from softtf.testing import check_adaptation


@dataclass(frozen=True)
class Follower(AdaptationSpec):
    """Scales a layer's output; `wrong` says what of it is wrong. The last block's qkv is among the layers."""

    wrong: str = ""

    def build(self, backbone: Backbone) -> list[Adaptation]:
        return [Followers(weight_shapes("3-4", "qkv,fc2", backbone, "follower"), self.wrong)]


class Followers(Adaptation):
    def __init__(self, shapes: dict[Site, torch.Size], wrong: str) -> None:
        super().__init__()
        self.shapes, self.wrong = shapes, wrong
        self.output_sites = frozenset(shapes)

    def new_slot(self, num_classes: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {slot_key(*site): torch.ones(shape[0]) for site, shape in self.shapes.items()}

    def output(self, site: Site, x: Tensor, y: Tensor, selection: Any) -> Tensor:
        scales = torch.stack([self.value(t, slot_key(*site)) for t in range(self.num_tasks)]).to(y)
        if selection.task is not None:
            return y * scales[0 if self.wrong == "task" else selection.task]
        mixture = selection.mixture.to(y)
        mixture = mixture.detach() if self.wrong == "gradient" else mixture
        y = y - y.mean(0) if self.wrong == "neighbours" else y
        return y * (mixture @ scales)[:, None]


def test_what_follows_the_last_blocks_qkv_is_lawful() -> None:
    check_adaptation(Follower())


@pytest.mark.parametrize("wrong", ["task", "gradient", "neighbours"])
def test_an_adaptation_that_breaks_a_law_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, RuntimeError), match="law broken|grad"):
        check_adaptation(Follower(wrong))

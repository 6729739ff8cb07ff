"""The check of task inferences finds what breaks a law, and names it."""

from typing import Any

import pytest
from torch import Tensor

from softtf.inference import FeatureID, GradientID, TaskInference
from softtf.testing import check_inference
from support.registries import forgetting_names


@pytest.mark.parametrize("kind", [FeatureID, GradientID])
def test_inferences_of_ours_are_lawful(kind: type[TaskInference]) -> None:
    check_inference(kind)


def test_an_inference_that_looks_at_neighbours_is_found() -> None:
    with forgetting_names():

        class Neighbours(TaskInference):
            name, title = "neighbours", "Neighbours"

            @classmethod
            def fits(cls, learner: Any) -> bool:
                return True

            def scores(self, learner: Any, shared: Any) -> Tensor:
                x = shared.trunk.x.flatten(1)[:, : learner.num_tasks]
                return x - x.mean(0)  # type: ignore[no-any-return]

        with pytest.raises(AssertionError, match="neighbours"):
            check_inference(Neighbours)

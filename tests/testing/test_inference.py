"""The check of task inferences finds what breaks a law, and names it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.inference import FeatureID, GradientID, MultiCentroidGate, TaskInference
from softtf.learners import LinearHead
from softtf.statistics import FeatureStatistics, TensorForm
from softtf.testing import check_inference
from support.registries import forgetting_names


@pytest.mark.parametrize("kind", [FeatureID, GradientID, MultiCentroidGate])
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


@pytest.fixture
def nearest() -> Iterator[tuple[type[FeatureStatistics], type[TaskInference]]]:
    """A task inference by the first examples of each task, with a fixed number of them."""
    with forgetting_names():

        class First(FeatureStatistics):
            name = "first"

            def forms(self, labels: Tensor, tasks: int) -> Any:
                return {"means": TensorForm((tasks, self.dim))}

            def gather(self, known: Any, features: Tensor, columns: Tensor, labels: Tensor) -> dict[str, Tensor]:
                mean = features[: type(self).amount or 3].mean(0, keepdim=True)
                return {"means": torch.cat([known["means"], mean]) if known else mean}

        class Nearest(TaskInference):
            name, title, needs_query = "first", "First", True

            def scores(self, learner: Any, shared: Any) -> Tensor:
                means = learner.gathered[self.name]["means"].to(shared.query)
                return -(shared.query[:, None] - means).norm(dim=2)  # type: ignore[no-any-return]

        yield First, Nearest


def test_statistics_that_gather_a_fixed_amount_and_let_users_choose_one_are_found(nearest: Any) -> None:
    statistics, inference = nearest
    statistics.amount = 4
    with pytest.raises(AssertionError, match="another amount gathers other statistics: read `self.amount`"):
        check_inference(inference)


def test_an_amount_that_cannot_be_chosen_is_refused(nearest: Any) -> None:
    statistics, inference = nearest
    check_inference(inference)
    with pytest.raises(UserError, match="'first=30': first has no amount to choose; write first"):
        LinearHead(gather=("first=30",)).statistics()


def test_fits_that_is_no_class_method_and_a_learner_that_is_not_served_are_told() -> None:
    with forgetting_names(), pytest.raises(UserError, match="write @classmethod above"):

        class Bound(TaskInference):
            name, title = "bound", "Bound"

            def fits(self, learner: Any) -> bool:  # type: ignore[override]
                return True

    with pytest.raises(AssertionError, match="linear-head supports it: .* give check_inference one"):
        check_inference(GradientID, LinearHead())

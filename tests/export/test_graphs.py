"""Which policies a graph can follow is said by the inference, not by its name."""

import pytest

from softtf import UserError, parse_policy
from softtf.export.graphs import check_policy
from softtf.inference.entropy_gradient import GradientID
from softtf.inference.given import Oracle
from support.registries import forgetting_names


def test_an_own_inference_that_reads_gradients_is_refused_before_it_is_traced() -> None:
    with forgetting_names():

        class Steepest(GradientID):
            name = "steepest"
            title = "Steepest"

        with pytest.raises(UserError, match="steepest cannot be exported: it reads gradients"):
            check_policy(parse_policy("steepest"))
    check_policy(parse_policy("prompt-id:own"))


def test_an_own_inference_that_is_told_the_task_is_refused() -> None:
    with forgetting_names():

        class Told(Oracle):
            name = "told"
            title = "Told"

        with pytest.raises(UserError, match="told cannot be exported: it is told the task"):
            check_policy(parse_policy("told"))

"""The check of learners finds what breaks a law, and names it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf.adaptations import SoftMask
from softtf.learners import NCM, DualPrompt, LearnerSpec, LinearHead
from softtf.learners.base import Batch
from softtf.learners.ncm import NCMLearner
from softtf.testing import check_learner
from softtf.testing.learner import check_mean


@pytest.mark.slow
@pytest.mark.parametrize("spec", [NCM(), LinearHead(), DualPrompt(e_layers="3", adapt=SoftMask("4"))])
def test_learners_of_ours_are_lawful(spec: LearnerSpec) -> None:
    check_learner(spec)


def test_a_learner_that_changes_an_earlier_task_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true: Callable[..., Any] = NCMLearner.fit

    def fit(self: NCMLearner, *args: Tensor) -> dict[str, float]:
        self.network.heads.slot(0)["bias"].data.add_(1)
        return true(self, *args)  # type: ignore[no-any-return]

    monkeypatch.setattr(NCMLearner, "fit", fit)
    with pytest.raises(AssertionError, match="no other task's parameters|leaves every parameter"):
        check_learner(NCM())


def test_a_loss_that_compares_rows_is_no_mean() -> None:
    batch = Batch(torch.arange(5.0)[:, None], torch.zeros(5, dtype=torch.int64), torch.arange(5))
    check_mean(SimpleNamespace(loss=lambda part: {"mean": part.inputs.square().mean() + 1}), batch)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="the spread loss is a mean over the rows of a batch"):
        check_mean(SimpleNamespace(loss=lambda part: {"spread": part.inputs.std()}), batch)  # type: ignore[arg-type]

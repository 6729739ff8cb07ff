"""The check of learners finds what breaks a law, and names it."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from softtf.adaptations import SoftMask
from softtf.learners import NCM, DualPrompt, LearnerSpec, LinearHead
from softtf.learners.ncm import NCMLearner
from softtf.testing import check_learner


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

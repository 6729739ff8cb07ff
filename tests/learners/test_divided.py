"""What is kept by class is declared, not guessed from the names of tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from softtf import UserError
from softtf.backbones import Backbone
from softtf.files.tensor_form import Forms
from softtf.learners import NCM, Learner
from softtf.learners.ncm import NCMLearner
from softtf.learners.shares import METHOD
from softtf.statistics import TensorForm
from support.registries import forgetting_names
from support.tiny import classifier


def test_sums_of_all_classes_in_one_are_a_trace_of_a_class_whatever_they_are_called() -> None:
    """They used to be found by the names `gram` and `centroids`, so that those of an own method went unseen."""
    with forgetting_names():

        @dataclass(frozen=True)
        class Squares(NCM, kind="squares"):
            def build(self, backbone: Backbone, seed: int) -> Learner:
                return SquaresLearner(backbone, (), seed)

        model = classifier(Squares(), 2)
        with pytest.raises(UserError, match="the sums of task 'task 1' over all its classes"):
            model.forget(["a"])
    plain = classifier(NCM(), 2)
    assert plain.forget(["b"]) == [] and "b" not in plain.labels


class SquaresLearner(NCMLearner):
    """Keeps a sum over all classes beside NCM's sums."""

    sums_by_class = False

    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        return {**super().share_forms(labels, tasks), "squares": TensorForm((self.network.heads.dim,))}

    def keep_share(self, tensors: Mapping[str, Tensor], owner: str = METHOD) -> None:
        super().keep_share({**tensors, "squares": torch.ones(self.network.heads.dim)}, owner)

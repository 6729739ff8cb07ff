"""The settings of any method: a title, the statistics that they ask for, and what they refuse."""

import re
from dataclasses import dataclass
from typing import Any

import pytest

from softtf.errors import UserError
from softtf.learners import FT, NCM, LearnerSpec, LinearHead, RanPAC
from support.registries import forgetting_names
from support.tiny import tiny_backbone


def test_the_kind_is_the_title_unless_a_class_says_its_own() -> None:
    with forgetting_names():

        @dataclass(frozen=True)
        class Plain(LinearHead, kind="plain-head"):
            pass

        assert (Plain.title, LinearHead.title) == ("plain-head", "Linear head only")


def test_statistics_are_those_that_have_a_setting_and_those_that_are_named() -> None:
    amounts = LinearHead(feature_id=20, mcg=3).statistics()
    assert {name: amount for name, amount in amounts.items() if amount} == {"feature-id": 20, "mcg": 3}
    learner = LinearHead(feature_id=20, mcg=3).new_learner(tiny_backbone(), 0)
    assert {name: one.amount for name, one in learner.statistics.items()} == {"feature-id": 20, "mcg": 3}
    with pytest.raises(UserError, match="mcg has a setting of its own"):
        LinearHead(gather=("mcg",)).new_learner(tiny_backbone(), 0)


@pytest.mark.parametrize("spec", [FT(storage="float32"), RanPAC(10, storage="float16")])
def test_storage_is_refused_where_no_parameter_is_one_tasks_own(spec: LearnerSpec) -> None:
    with pytest.raises(UserError, match="^storage: no parameter of this method is one task's own; leave .* out$"):
        spec.new_learner(tiny_backbone(), 0)


@pytest.mark.parametrize("settings", [{"storage": "int4"}, {"storage": 8}])
def test_another_storage_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=re.escape("ncm.storage")):
        NCM(**settings)

"""A new kind cannot be forgotten: whatever registers itself in softtf must stand in `cases`."""

import re
from dataclasses import fields, replace

import pytest

from contracts.cases import ADAPTATIONS, BACKBONES, LEARNERS, kinds_of
from softtf.adaptations import AdaptationSpec
from softtf.backbones import Backbone
from softtf.backbones.block_features import BlockFeatures, LastTokens
from softtf.config.tree import Spec
from softtf.errors import UserError
from softtf.inference import INFERENCES, policies_of
from softtf.learners import LearnerSpec
from support.tiny import backbone_for


def own_kinds(family: type[Spec]) -> set[str]:
    return {kind for kind, cls in family.kinds().items() if cls.__module__.startswith("softtf.")}


def test_every_adaptation_has_a_case() -> None:
    assert own_kinds(AdaptationSpec) <= set().union(*(kinds_of(c.spec) for c in ADAPTATIONS.values()))


def test_every_learner_has_a_case() -> None:
    assert own_kinds(LearnerSpec) <= {c.spec.kind for c in LEARNERS.values()}


def test_every_task_inference_serves_some_learner_case() -> None:
    own = {name for name, cls in INFERENCES.items() if cls.pools and cls.__module__.startswith("softtf.")}
    specs = [case.spec for case in LEARNERS.values() if not case.texts]
    assert own <= {name for spec in specs for name in policies_of(spec.new_learner(backbone_for(spec), 0))}


def test_every_backbone_has_a_case() -> None:
    own = {cls for cls in leaves(Backbone) if cls.__module__.startswith("softtf.")} - {BlockFeatures, LastTokens}
    assert own <= {type(case.build()) for case in BACKBONES.values()}


@pytest.mark.parametrize("spec", [*(c.spec for c in ADAPTATIONS.values()), *(c.spec for c in LEARNERS.values())])
def test_every_spec_checks_the_type_of_every_setting(spec: Spec) -> None:
    for field in fields(spec):  # type: ignore[arg-type]
        with pytest.raises(UserError, match=re.escape(f"{spec.kind}.{field.name} must be ") + r".*, not"):
            replace(spec, **{field.name: 1 + 2j})  # type: ignore[type-var]


def leaves(cls: type) -> set[type]:
    """The classes derived from `cls` that nothing is derived from."""
    below = cls.__subclasses__()
    return set().union(*map(leaves, below)) if below else {cls}

"""Methods and presets are plain data: what they name exists, and they load without torch."""

from dataclasses import fields

import pytest

from softtf.backbones import load
from softtf.config.dotted import with_settings
from softtf.learners import LearnerSpec
from softtf.recipes.methods import METHODS, title_of
from softtf.recipes.presets import BUNDLED, EVERY, MINILM, PRESETS, RECIPES, TRAIN_WHOLE
from softtf.recipes.recipes import method_named, recipe_named
from softtf.runs.config import RunConfig


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_kind_of_learner_with_other_settings(name: str) -> None:
    spec = method_named(name)
    assert spec.kind == METHODS[name].kind
    assert with_settings(spec, METHODS[name].settings) == spec
    assert title_of(name) == METHODS[name].title != name == recipe_named("quickstart", name).method


def test_names_of_the_table_exist() -> None:
    kinds = LearnerSpec.kinds()
    wide = {kind for recipe in RECIPES.values() for kind in recipe.wide}
    named = {kind for rows in PRESETS.values() for kind in rows if kind != EVERY}
    assert named | wide | set(TRAIN_WHOLE) <= kinds.keys()
    assert (BUNDLED, MINILM) == (load.BUNDLED, load.MINILM)
    everywhere = {name for kind in kinds.values() for name in (f"learner.{field.name}" for field in fields(kind))}  # type: ignore[arg-type]
    for settings in (
        *(recipe.settings for recipe in RECIPES.values()),
        *(s for r in PRESETS.values() for s in r.values()),
    ):
        assert {name for name in settings if name.startswith("learner.")} <= everywhere
        with_settings(RunConfig(), {n: v for n, v in settings.items() if not n.startswith("learner.")})


def test_methods_whose_whole_network_trains_are_those_that_say_so() -> None:
    rates = {kind for kind, spec in LearnerSpec.kinds().items() if spec.training.get("learning_rate") == 3e-3}
    assert rates == set(TRAIN_WHOLE)

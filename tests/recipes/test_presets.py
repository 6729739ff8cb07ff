"""Methods and presets are plain data: what they name exists, and they load without torch."""

import ast
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

import softtf
from softtf.cli.quickstart import METHODS
from softtf.config.dotted import with_settings
from softtf.learners import LearnerSpec, SoftTF
from softtf.recipes.methods import DEFAULT, known_methods, title_of
from softtf.recipes.presets import EVERY, PRESETS, RECIPES, TRAIN_WHOLE, Scale
from softtf.recipes.recipes import method_named, recipe_named
from softtf.runs.config import RunConfig


@pytest.mark.parametrize("name", known_methods())
def test_a_method_is_a_kind_of_learner_with_other_settings(name: str) -> None:
    spec, method = method_named(name), known_methods()[name]
    assert spec.kind == method.kind
    assert with_settings(spec, method.settings) == spec
    assert title_of(name) == method.title != name == recipe_named("quickstart", name).method


def test_every_kind_of_learner_is_one_method_by_its_title() -> None:
    ours = {kind: spec for kind, spec in LearnerSpec.kinds().items() if spec.__module__.startswith("softtf.")}
    names = {kind: {name for name, method in known_methods().items() if method.kind == kind} for kind in ours}
    assert all(kind in found for kind, found in names.items() if kind != "der")
    assert names["der"] == {"der+mcg"}
    plain = {method.kind: method.title for name, method in known_methods().items() if name in (method.kind, "der+mcg")}
    assert plain == {kind: spec.title for kind, spec in ours.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_learns_by_the_default_if_no_method_is_named(name: str) -> None:
    for scale in get_args(Scale):
        config = recipe_named(name, scale=scale)
        assert config.method == DEFAULT == METHODS[0] and type(config.learner) is SoftTF
        assert replace(config, method="block-ridge") == recipe_named(name, "block-ridge", scale)


def test_names_of_the_table_exist() -> None:
    kinds = LearnerSpec.kinds()
    wide = {kind for recipe in RECIPES.values() for kind in recipe.wide}
    named = {kind for rows in PRESETS.values() for kind in rows if kind != EVERY}
    assert named | wide | set(TRAIN_WHOLE) <= kinds.keys()
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


@pytest.mark.parametrize(
    ("recipe", "scale", "rank"),
    [
        ("cifar100-10", "full", 500),
        ("cifar100-10", "mini", 125),
        ("quickstart", "full", 125),
        ("own-texts", "full", 125),
    ],
)
def test_lora_and_adapters_of_a_small_backbone_do_not_fall_apart(recipe: str, scale: Scale, rank: int) -> None:
    lora = recipe_named(recipe, "dual-prompt+lora", scale).learner.adapt  # type: ignore[attr-defined]
    assert (lora.rank, lora.init) == (rank, "soft-tf" if rank == 500 else "lora")
    assert recipe_named(recipe, "dual-prompt+adapter", scale).learner.adapt.rank == 75  # type: ignore[attr-defined]


def test_no_code_compares_with_the_name_of_a_recipe() -> None:
    """What a recipe changes is in its row, so that another recipe can change it too."""
    names = {*RECIPES, "OWN_IMAGES", "OWN_TEXTS"}
    for file in Path(softtf.__file__).parent.rglob("*.py"):
        compared = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Compare)]
        parts = [part for node in compared for part in (node.left, *node.comparators)]
        found = {part.value for part in parts if isinstance(part, ast.Constant)}
        found |= {part.id for part in parts if isinstance(part, ast.Name)}
        assert not names & found, file

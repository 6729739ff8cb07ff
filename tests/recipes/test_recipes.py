"""A file of settings is laid over its recipe and method, and a run's row is named by the method that ran."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softtf.adaptations import SoftMask
from softtf.config.tree import to_dict
from softtf.errors import UserError
from softtf.recipes.recipes import recipe_named, run_of_file
from softtf.runs.config import RunConfig


def test_a_file_that_names_recipe_and_method_is_what_the_command_line_has() -> None:
    assert run_of_file({}, "run.yaml") == recipe_named("quickstart")
    for recipe, method in (("quickstart", "ncm"), ("cifar100-10", "der++"), ("text-order-4", "slm")):
        assert run_of_file({"recipe": recipe, "method": method}, "run.yaml") == recipe_named(recipe, method)


def test_the_learners_kind_names_the_method() -> None:
    found = run_of_file({"learner": {"kind": "linear-head"}, "seed": 3}, "run.yaml")
    assert found.method == "linear-head"
    assert to_dict(found) == to_dict(recipe_named("quickstart", "linear-head")) | {"seed": 3}
    named = run_of_file({"method": "mine", "learner": {"kind": "linear-head"}, "seed": 3}, "run.yaml")
    assert named == replace(found, method="mine")


def test_settings_of_the_method_stay_where_the_file_says_nothing() -> None:
    found = run_of_file({"method": "dual-prompt+soft-tf", "learner": {"adapt": {"init": "normal"}}}, "run.yaml")
    usual: Any = recipe_named("quickstart", "dual-prompt+soft-tf").learner
    masks: Any = found.learner
    assert isinstance(usual.adapt, SoftMask)
    assert masks.adapt.init == "normal"
    assert (masks.adapt.layers, masks.e_length) == (usual.adapt.layers, usual.e_length)


def test_an_adaptation_of_another_kind_takes_nothing_from_the_methods_own() -> None:
    learner = {"kind": "dual-prompt", "adapt": {"kind": "lora", "rank": 2}}
    found: Any = run_of_file({"learner": learner}, "run.yaml").learner
    assert (found.adapt.kind, found.adapt.rank) == ("lora", 2)


def test_a_whole_file_is_taken_as_it_is() -> None:
    config = RunConfig(method="ncm")  # which is not the learner's kind; softtf never writes such a file
    assert run_of_file(to_dict(config), "run.yaml") == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "ncm", "learner": {"kind": "ranpac"}}, "the learner of method 'ncm' is 'ncm'"),
        ({"recipe": "quickstrat"}, "did you mean 'quickstart'"),
        ({"method": "ncn"}, "did you mean 'ncm'"),
        ({"learner": {"kind": "ncn"}}, "did you mean 'ncm'"),
        ({"learner": {"views": 9}}, "views"),
        ({"method": 3}, "run.yaml.method"),
        (["quickstart"], "run.yaml"),
    ],
)
def test_what_does_not_fit_is_refused(settings: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        run_of_file(settings, "run.yaml")


def test_a_folder_in_place_of_a_recipe_is_told_how_it_is_learned(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"is a folder, not a recipe; for its images write own-images --source {tmp_path}"
    ):
        recipe_named(str(tmp_path))

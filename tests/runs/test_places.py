"""Where a run's parts are: what a folder names, and what only the user may give."""

from dataclasses import replace

import pytest

from softtf.errors import UserError
from softtf.recipes.recipes import recipe_named
from softtf.runs.places import NO_PLACES, Places

URL = "http://127.0.0.1:9/birds.parquet"


def test_a_url_that_a_folder_names_is_asked_only_if_the_user_gives_it() -> None:
    config = recipe_named("own-images")
    config = replace(config, stream=replace(config.stream, source=URL))
    with pytest.raises(UserError, match=f"--source {URL}$"):
        NO_PLACES.in_place_of(config, print)
    assert Places(source=URL).in_place_of(config, print).stream.source == URL


def test_a_run_of_another_machine_goes_on_where_the_user_says() -> None:
    config = replace(recipe_named("quickstart"), device="cuda")
    assert NO_PLACES.in_place_of(config, print).device == "cuda"
    assert Places(device="cpu").in_place_of(config, print).device == "cpu"

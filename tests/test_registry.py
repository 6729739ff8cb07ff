"""What is named is found by its name; nobody's name is taken away."""

from collections.abc import Iterator

import pytest

from softtf.errors import UserError
from softtf.registry import REGISTRIES, Registry, own
from support.registries import forgetting_names


@pytest.fixture
def toys() -> Iterator[Registry[int]]:
    found: Registry[int] = Registry("toy", taken=lambda name: name == "top")
    yield found
    del REGISTRIES["toy"]


def origin(name: str, module: str = "mine") -> type:
    return type(name, (), {"__module__": module})


def test_a_name_is_kept_by_what_has_it(toys: Registry[int]) -> None:
    toys.add("ball", 1, origin("Ball"))
    toys.add("ball", 2, origin("Ball"))  # a notebook cell run again
    with pytest.raises(UserError, match=r"toy: the name 'ball' is taken; give mine\.Other another"):
        toys.add("ball", 3, origin("Other"))
    assert toys == {"ball": 2}


def test_names_of_others_are_refused_but_softtfs_own(toys: Registry[int]) -> None:
    with pytest.raises(UserError, match="'top'"):
        toys.add("top", 1, origin("Top"))
    toys.add("top", 1, origin("Top", "softtf.toys"))
    assert toys == {"top": 1}


def test_own_are_those_of_imported_files(toys: Registry[int]) -> None:
    toys.add("ball", 1, origin("Ball"))
    toys.add("top", 2, origin("Top", "softtf.toys"))
    assert own("toy") == {"ball": 1}
    assert own("no such thing") == {}


def test_a_test_leaves_no_names(toys: Registry[int]) -> None:
    with forgetting_names():
        toys.add("ball", 1, origin("Ball"))
    assert not toys and own("toy") == {}
